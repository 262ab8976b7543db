"""What a model is given: from tokens to the tensors of the symbols that its expression is free in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from scrub.compiler import TorchFunction
from scrub.discovery.derive.opening import lookups, opened_calls
from scrub.discovery.derive.walks import outside_bodies, replaced
from scrub.graph import DiscoveryError, Expr, GeneralFunction, Symbol
from scrub.models import LoadedModel


@dataclass(frozen=True)
class Given:
    """Tensors of an expression's free symbols, for a batch.

    Attributes:
        tensors: symbol -> value, [n, *shape] for those in `batched`, else [*shape].
        batched: the symbols with one value for each example.
        n: how many examples.
        embeds: the token embeddings that they were made from, [n, *shape].
    """

    tensors: Mapping[Symbol, torch.Tensor]
    batched: frozenset[Symbol]
    n: int
    embeds: torch.Tensor


class Source(Protocol):
    """Makes what a model is given."""

    def given(
        self, tokens: torch.Tensor, mask: torch.Tensor | None = None, *, embeds: torch.Tensor | None = None
    ) -> Given:
        """For tokens [n, seq] and what is padding (1 token, 0 padding).

        Args:
            tokens: int64 [n, seq].
            mask: [n, seq]; None where there is no padding.
            embeds: token embeddings to use instead of those of the tokens, [n, *shape].
        """
        ...


class LoadedSource:
    """Of a loaded model: embeds tokens, and makes masks and tables of positions.

    Args:
        model: the model.
        root: its logits, free in what `model.call` binds.
        terms: symbols of what the first residual stream adds up, where these are apart; see `input_terms`.
    """

    def __init__(self, model: LoadedModel, root: Expr, terms: Sequence[Symbol] = ()) -> None:
        self.model = model
        self.root = root
        self.terms = tuple(terms)
        self._made: dict[tuple[int, bool, bool], _Functions] = {}

    def given(
        self, tokens: torch.Tensor, mask: torch.Tensor | None = None, *, embeds: torch.Tensor | None = None
    ) -> Given:
        """See `Source`. Where there is padding on the left, positions are counted from the first token."""
        if mask is not None and bool((mask == 1).all()):
            mask = None
        has_positions = mask is not None and self._counts_positions and bool((mask[:, 0] == 0).any())
        seq = tokens.shape[-1]
        kind = (seq, mask is not None, has_positions)
        if kind not in self._made:
            self._made[kind] = self._make(*kind)
        functions = self._made[kind]
        values = [tokens]
        if mask is not None:
            values.append(mask)
            if has_positions:
                values.append((mask.cumsum(-1) - 1).clamp(min=0))
        if embeds is None:
            (embeds,) = functions.embed(*values)
        found = functions.rest(embeds, *values)
        tensors = dict(zip(functions.symbols, found, strict=True))
        for symbol in self.terms:  # positions are the same for all examples; what is written is of each
            if symbol not in functions.batched:
                tensors[symbol] = tensors[symbol].expand(len(tokens), *tensors[symbol].shape)
        return Given(tensors, functions.batched.union(self.terms), len(tokens), embeds)

    @property
    def _counts_positions(self) -> bool:
        embedding = self.model.architecture.embedding
        return embedding.positions in ("learned", "shortformer") and not embedding.positions_from_mask

    def _make(self, seq: int, has_mask: bool, has_positions: bool) -> _Functions:
        names = ["tokens", *(["attention_mask"] if has_mask else []), *(["position_ids"] if has_positions else [])]
        args = {name: Symbol.new_with_random_uuid((seq,), name) for name in names}
        call = self.model.call(
            args["tokens"],
            attention_mask=args.get("attention_mask"),
            position_ids=args.get("position_ids"),
            model=self.root,
        )
        bindings = dict(call.bindings)
        if self.terms:
            (whole,) = [symbol for symbol in bindings if symbol.name == "t.input"]
            bindings |= dict(zip(self.terms, bindings.pop(whole).children, strict=True))
        return _functions(list(args.values()), bindings)


def input_terms(model: LoadedModel) -> list[str]:
    """Names of what the first residual stream of a model adds up: "input.tokens", "input.positions", "input.types".

    Raises:
        DiscoveryError: they cannot be told apart, because they are normed together; or there is but one.
    """
    embedding = model.architecture.embedding
    terms = ["input.tokens"]
    if embedding.positions == "learned":
        terms.append("input.positions")
    if embedding.n_token_types:
        terms.append("input.types")
    if embedding.norm is not None or len(terms) == 1 or embedding.patches is not None:
        raise DiscoveryError(
            "the embeddings of this model cannot be told apart",
            expected="embeddings that are added up",
            found="a norm of their sum" if embedding.norm is not None else terms,
            hint="leave out split_input",
        )
    return terms


class ExpressionSource:
    """Of an expression that reads tokens through one symbol.

    Embeddings that are looked up in several tables are one tensor in `Given.embeds`, side by side. Where none are
    looked up, what is given in place of tokens is the embeddings.

    Args:
        root: the expression.
        tokens: the symbol; of shape [seq], or with axes of size 1 in front.

    Attributes:
        root: the expression, its calls opened where they hide the residual stream, free in `symbols`.
        symbols: of the embeddings, and of the tokens where these are read besides.
    """

    def __init__(self, root: Expr, tokens: Symbol) -> None:
        self.tokens = tokens
        opened = opened_calls(root, tokens)
        found = lookups(opened, tokens)
        self._tables = tuple(
            Symbol.new_with_random_uuid(node.shape, _table_name(node) if len(found) > 1 else "embeds") for node in found
        )
        self._embed = TorchFunction(found, [tokens], batched=[tokens])
        self.root = replaced(opened, dict(zip(found, self._tables, strict=True)))
        is_read = tokens in self.root.free_symbols
        self.symbols = (*self._tables, tokens) if is_read else self._tables
        self._check(root)

    def _check(self, root: Expr) -> None:
        others = [symbol for symbol in self.root.free_symbols if symbol not in self.symbols]
        if others:
            raise DiscoveryError(
                f"{root!r} reads {others[0]!r} besides its tokens",
                nodes=others,
                expected=f"no free symbols but {self.tokens.name!r}",
                found=[symbol.name for symbol in others],
                hint="bind the others: scrub.bind(expr, {symbol: Array(value)})",
            )
        if not self.symbols:
            raise DiscoveryError(
                f"{root!r} does not read {self.tokens!r}",
                nodes=[root, self.tokens],
                expected="an expression that reads its tokens",
                hint="take the symbol from the model's inputs: exported.inputs['tokens']",
            )

    def given(
        self, tokens: torch.Tensor, mask: torch.Tensor | None = None, *, embeds: torch.Tensor | None = None
    ) -> Given:
        """See `Source`."""
        if mask is not None and bool((mask == 0).any()):
            raise DiscoveryError(
                "an expression without a mask cannot leave out padding",
                nodes=[self.tokens],
                expected="prompts of one length",
                found="padding",
                hint="use prompts of one length",
            )
        if tokens[0].numel() != math.prod(self.tokens.shape):
            raise DiscoveryError(
                f"this expression is for tokens of shape {list(self.tokens.shape)}",
                nodes=[self.tokens],
                expected=self.tokens.shape,
                found=tuple(tokens.shape[1:]),
                hint="export it again for prompts of this length",
            )
        value = tokens.reshape(len(tokens), *self.tokens.shape)
        if embeds is None:
            embeds = torch.cat(self._embed(value), -1) if self._tables else value
        widths = [int(symbol.shape[-1]) for symbol in self._tables]
        tensors = dict(zip(self._tables, torch.split(embeds, widths, -1), strict=True)) if self._tables else {}
        if self.tokens in self.symbols:
            tensors[self.tokens] = value if self._tables else embeds
        return Given(tensors, frozenset(self.symbols), len(tokens), embeds)


@dataclass(frozen=True)
class _Functions:
    """How tokens become what a model is given."""

    embed: TorchFunction
    rest: TorchFunction
    symbols: tuple[Symbol, ...]
    batched: frozenset[Symbol]


def _functions(args: list[Symbol], bindings: dict[Symbol, Expr]) -> _Functions:
    """The token embeddings of the arguments, tokens first; and of these and the arguments, what is bound."""
    lookup = _lookup(list(bindings.values()), args[0])
    embeds = Symbol.new_with_random_uuid(lookup.shape, "embeds")
    exprs = [replaced(value, {lookup: embeds}) for value in bindings.values()]
    every = [embeds, *args]
    batched = frozenset(s for s, value in zip(bindings, exprs, strict=True) if set(value.free_symbols) & set(every))
    return _Functions(
        TorchFunction([lookup], args, batched=args),
        TorchFunction(exprs, every, batched=every),
        tuple(bindings),
        batched,
    )


def _table_name(lookup: Expr) -> str:
    """Of one of several tables: what the module is called that looks it up."""
    return (lookup.name or "input").removesuffix(".embedding")


def _lookup(exprs: list[Expr], tokens: Symbol) -> Expr:
    """The node that looks up the embeddings of tokens."""
    for node in outside_bodies(exprs):
        if isinstance(node, GeneralFunction) and len(node.children) == 2 and node.children[1] is tokens:
            return node
    raise DiscoveryError(
        f"nothing looks up the embeddings of {tokens!r}",
        nodes=[tokens],
        expected="gen_index(table, tokens)",
        hint="component graphs are for models of tokens",
    )
