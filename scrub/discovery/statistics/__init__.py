"""How good a circuit is, from metrics per example and from what is known: ratios, areas, ROC, with intervals."""

from scrub.discovery.statistics.areas import MIB_SIZES, Area, Selection, area_under, cmd, cpr
from scrub.discovery.statistics.bootstrap import BootstrapEstimate, bootstrap, mean, mean_of_ratios, ratio_of_means
from scrub.discovery.statistics.faithfulness import Convention, Faithfulness, completeness, faithfulness
from scrub.discovery.statistics.minimality import Minimality, minimality
from scrub.discovery.statistics.roc import (
    PrecisionRecall,
    RocCurve,
    average_precision,
    precision_recall,
    roc_auc,
    roc_curve,
)

__all__ = [
    "MIB_SIZES",
    "Area",
    "BootstrapEstimate",
    "Convention",
    "Faithfulness",
    "Minimality",
    "PrecisionRecall",
    "RocCurve",
    "Selection",
    "area_under",
    "average_precision",
    "bootstrap",
    "cmd",
    "completeness",
    "cpr",
    "faithfulness",
    "mean",
    "mean_of_ratios",
    "minimality",
    "precision_recall",
    "ratio_of_means",
    "roc_auc",
    "roc_curve",
]
