"""The work behind `estimate`: which sums are kept per draw, and how values and errors come out of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.compile import evaluate_many
from scrub.graph import (
    Add,
    Concat,
    Cumulant,
    Einsum,
    Expr,
    Index,
    Rearrange,
    Symbol,
    Tag,
    cast,
    cast_to,
    postorder,
)
from scrub.rewrite import substitute_all_modules
from scrub.sampling.estimates import Estimate, Estimates, Joint, jackknife_covariance
from scrub.sampling.moments import BlockMoments
from scrub.sampling.program import BatchProgram
from scrub.sampling.specs import RandomSampleSpec, SampleSpec

_NUM_BLOCKS = 64
_NUM_SHIFT_DRAWS = 16
_LINEAR = (Add, Einsum, Rearrange, Index, Concat, Tag)


class Estimation:
    """The sums of one estimation, and what they say.

    Args:
        exprs: ready to be estimated, by name.
        spec: how to draw.
        biased: plug-in estimates of cumulants of order 2 and more.
    """

    def __init__(self, exprs: Mapping[str, Expr], spec: SampleSpec, *, biased: bool) -> None:
        self.exprs = {name: substitute_all_modules(expr) for name, expr in exprs.items()}
        self.spec = spec
        self.is_exact = spec.weights(0, 1) is not None
        self.biased = biased or self.is_exact
        self.n = 0
        # One number per draw where that is enough; else the arguments of every cumulant.
        self.per_draw = {name: _per_draw(expr) for name, expr in self.exprs.items() if _is_affine(expr)}
        self.cumulants: list[Cumulant] = []
        self.evaluated = {name: [expr] for name, expr in self.per_draw.items()}  # on draws, for each expression first
        for name in (name for name in self.exprs if name not in self.per_draw):
            own = [c for c in postorder([self.exprs[name]]) if isinstance(c, Cumulant) and c not in self.cumulants]
            self.cumulants += own
            self.evaluated[name] = list(dict.fromkeys(child for cumulant in own for child in cumulant.children))
        wanted = [*self.per_draw.values(), *(child for node in self.cumulants for child in node.children)]
        self.symbols = {c: Symbol.new_from_name(c.shape, f"value of {c.digest}") for c in self.cumulants}
        self.functions = {n: _of_symbols(e, self.symbols) for n, e in self.exprs.items() if n not in self.per_draw}
        self.program = BatchProgram(wanted, spec)
        shifts = [
            v.to("cpu", torch.float64).mean(0) for v in self.program.run(0, min(_NUM_SHIFT_DRAWS, spec.num_draws))
        ]
        num_blocks = min(_NUM_BLOCKS, spec.num_draws)
        self.means = [BlockMoments([shift], num_blocks=num_blocks) for shift in shifts[: len(self.per_draw)]]
        self.squares = [torch.zeros_like(shift) for shift in shifts[: len(self.per_draw)]]
        rest = iter(shifts[len(self.per_draw) :])
        self.moments = [BlockMoments([next(rest) for _ in c.children], num_blocks=num_blocks) for c in self.cumulants]
        self.scalars = [i for i, expr in enumerate(self.per_draw.values()) if expr.ndim == 0]
        self.products = torch.zeros(len(self.scalars), len(self.scalars), dtype=torch.float64)
        self.num_blocks = num_blocks

    def add(self, start: int, stop: int) -> None:
        """Take in draws start to stop."""
        values = iter(self.program.run(start, stop))
        weights = self.spec.weights(start, stop)
        weights = torch.ones(stop - start, dtype=torch.float64) if weights is None else weights
        blocks = torch.arange(start, stop) % self.num_blocks
        centred: list[torch.Tensor] = []
        for i, moments in enumerate(self.means):
            value = next(values).to("cpu", torch.float64)
            moments.add([value], weights, blocks)
            centred.append(value - moments.shifts[0])
            self.squares[i] += torch.tensordot(weights, centred[-1] ** 2, dims=1)
        if self.scalars:
            stacked = torch.stack([centred[i] for i in self.scalars])
            self.products += (stacked * weights) @ stacked.T
        for moments in self.moments:
            moments.add([next(values) for _ in moments.shifts], weights, blocks)
        self.n = stop

    def largest_stderr(self) -> float:
        """The largest standard error of any element of any estimate so far."""
        return max((float(e.stderr.max()) for e in self.results().values() if e.stderr.numel()), default=0.0)

    def results(self) -> Estimates:
        """The estimates from the draws so far."""
        highest = max((cumulant.order for cumulant in self.cumulants), default=1)
        blocks = range(self.num_blocks if self.num_blocks > highest and not self.is_exact else 0)
        values = self._values(None)
        per_block = [self._values(block) for block in blocks]
        replicates = {name: torch.stack([v[name] for v in per_block]) for name in values} if per_block else {}
        names = list(self.per_draw)
        joint = Joint(replicates, tuple(names[i] for i in self.scalars), self._scalar_covariance(), self.is_exact)
        seed = self.spec.seed if isinstance(self.spec, RandomSampleSpec) and self.spec.seeder is None else None
        return Estimates(
            {
                name: Estimate(name, values[name], self._stderr(name, joint), self.n, seed, joint, self._seconds(name))
                for name in self.exprs
            }
        )

    def _values(self, without_block: int | None) -> dict[str, torch.Tensor]:
        def cumulant(moments: BlockMoments) -> torch.Tensor:
            return moments.cumulant(biased=self.biased, without_block=without_block)

        result = {name: cumulant(m) for name, m in zip(self.per_draw, self.means, strict=True)}
        given = {self.symbols[c]: cumulant(m).to(c.device) for c, m in zip(self.cumulants, self.moments, strict=True)}
        others = evaluate_many(list(self.functions.values()), given)
        return result | {n: v.to("cpu", torch.float64) for n, v in zip(self.functions, others, strict=True)}

    def _stderr(self, name: str, joint: Joint) -> torch.Tensor:
        if joint.is_exact:
            return torch.zeros(self.exprs[name].shape, dtype=torch.float64)
        if name in self.per_draw:
            i = list(self.per_draw).index(name)
            total = self.means[i].total.sum()
            mean = self.means[i].cumulant(biased=True) - self.means[i].shifts[0]
            if self.n < 2:
                return torch.full(self.exprs[name].shape, float("inf"), dtype=torch.float64)
            return ((self.squares[i] / total - mean**2).clamp_min(0) / (self.n - 1)).sqrt()
        if name not in joint.replicates:
            return torch.full(self.exprs[name].shape, float("inf"), dtype=torch.float64)
        return jackknife_covariance(joint.replicates[name], joint.replicates[name]).sqrt()

    def _seconds(self, name: str) -> float:
        """Time for what this expression needs per draw, beyond what the expressions before it needed."""
        return sum(self.program.seconds(expr) for expr in self.evaluated[name])

    def _scalar_covariance(self) -> torch.Tensor:
        if not self.scalars or self.n < 2:
            return torch.full((len(self.scalars), len(self.scalars)), float("inf"), dtype=torch.float64)
        means = torch.stack([self.means[i].cumulant(biased=True) - self.means[i].shifts[0] for i in self.scalars])
        total = self.means[0].total.sum()
        return (self.products / total - torch.outer(means, means)) / (self.n - 1)


def _is_affine(expr: Expr) -> bool:
    """Whether the expression is affine in cumulants, all of them expectations."""
    touched: dict[Expr, bool] = {}
    for node in postorder([expr], descend=lambda n: not isinstance(n, Cumulant)):
        if isinstance(node, Cumulant):
            if node.order != 1:
                return False
            touched[node] = True
            continue
        below = [child for child in node.children if touched[child]]
        if below and (not isinstance(node, _LINEAR) or (isinstance(node, Einsum) and len(below) > 1)):
            return False
        touched[node] = bool(below)
    return True


def _of_symbols(expr: Expr, symbols: Mapping[Cumulant, Symbol]) -> Expr:
    """The expression as a function of its cumulants, in float64 throughout, so that no digits are lost."""

    open_expr = expr.update(Cumulant, lambda node: symbols[node.cast(Cumulant)], assert_any_found=False)
    values = set(symbols.values())
    return cast(open_expr, dtype=torch.float64).update(
        values, lambda symbol: cast_to(symbol, torch.float64), assert_any_found=False
    )


def _per_draw(expr: Expr) -> Expr:
    """The random expression whose mean an affine expression of expectations is."""
    return expr.update(Cumulant, lambda node: node.children[0], assert_any_found=False)
