"""How random expressions become numbers: sample specs, sampler, cumulant estimators, intervals."""

from scrub.sampling.estimate import estimate
from scrub.sampling.estimates import Estimate, Estimates, covariance
from scrub.sampling.recovered import loss_recovered
from scrub.sampling.sampler import Sampler
from scrub.sampling.specs import RandomSampleSpec, RunDiscreteVarAllSpec, SampleSpec, variables_of
from scrub.sampling.stopping import BatchSizeWarning, PartialEstimateWarning

__all__ = [
    "BatchSizeWarning",
    "Estimate",
    "Estimates",
    "PartialEstimateWarning",
    "RandomSampleSpec",
    "RunDiscreteVarAllSpec",
    "SampleSpec",
    "Sampler",
    "covariance",
    "estimate",
    "loss_recovered",
    "variables_of",
]
