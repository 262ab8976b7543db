"""`Sampler`: random expressions into explicitly computable ones (SPEC 6.4)."""

from __future__ import annotations

from scrub.graph import Array, Cumulant, DiscreteVar, Expr, GeneralFunction, StoredCumulantVar
from scrub.graph.rearrange import repeat_axes
from scrub.rewrite import Expander, restrict
from scrub.sampling.estimate import estimate
from scrub.sampling.specs import SampleSpec, require_drawable


class Sampler:
    """Draws by a spec.

    >>> import torch
    >>> from scrub.sampling import RunDiscreteVarAllSpec
    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> sampler = Sampler(RunDiscreteVarAllSpec.create_full_from_exprs(dice))
    >>> sampler.sample(dice.add(dice)).evaluate()
    tensor([ 2.,  4.,  6.,  8., 10., 12.])
    >>> sampler.estimate(Cumulant(dice)).evaluate()
    tensor(3.5000)
    """

    def __init__(self, spec: SampleSpec) -> None:
        self.spec = spec

    def sample(self, expr: Expr) -> Expr:
        """The expression with every variable that is not under a `Cumulant` replaced by its draws.

        The spec's sample axes come in front, also of an expression without variables.

        Raises:
            SampleSpecError: the spec does not list a variable's group, or a variable can be drawn by no spec.
        """
        require_drawable(expr, restrict(StoredCumulantVar, term_early_at=Cumulant))
        sampled = Expander((restrict(DiscreteVar, term_early_at=Cumulant), self._draw)).run(expr)
        return repeat_axes(sampled, self.spec.shape[: len(self.spec.shape) + expr.ndim - sampled.ndim])

    def estimate(self, expr: Expr, *, batch_size: int = 64) -> Expr:
        """The expression with every `Cumulant` replaced by an `Array`, its estimate from the spec's draws.

        For a value with its standard error use `scrub.estimate`.
        """

        def estimated(node: Expr) -> Expr:
            # The result does not show its number of draws, so it must not be of fewer.
            value = estimate(node, spec=self.spec, batch_size=batch_size, partial=False).value
            is_floating = node.dtype is not None and node.dtype.is_floating_point
            # The expectation of integers is no integer; it stays float64, as do arguments without a dtype.
            return Array(value.to(device=node.device, dtype=node.dtype if is_floating else None), node.name)

        return expr.update(restrict(Cumulant, term_if_matches=True), estimated, assert_any_found=False)

    def _draw(self, node: Expr) -> Expr:
        variable = node.cast(DiscreteVar)
        self.spec.check(variable)
        rows = self.spec.rows(variable.probs_and_group, 0, self.spec.num_draws).reshape(self.spec.shape)
        index = Array(rows.to(variable.device or "cpu"), "draws")
        return GeneralFunction.gen_index(variable.values, index, index_dim=0, name=variable.name)
