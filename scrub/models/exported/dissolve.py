"""Taking calls apart by hand, so that what is in a shared body can be named and changed in one layer alone."""

from __future__ import annotations

from collections.abc import Iterator

from scrub.graph import Array, Expr, MatchError, Module, Scalar, Symbol, postorder
from scrub.rewrite import substitute, update

_KEEPS_ITS_NAME = (Array, Scalar, Symbol)


def dissolve(expr: Expr, *names: str) -> Expr:
    """Inline the calls of these names, with the name of the call put in front of the names in its body.

    Layers of an exported model share one body, in which names are relative: "attn" in "h.0". Once "h.0" is dissolved
    there is a call "h.0.attn" of its own, that matchers find and rewrites change without touching other layers.

    Args:
        expr: an exported model, or part of one.
        names: of calls, outermost first; "h.0", "h.0.attn" dissolves a layer and then the attention in it.

    Raises:
        MatchError: there is no call of that name outside the bodies of others.

    >>> import torch
    >>> from scrub.models.exported import from_torch
    >>> model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    >>> exported = from_torch(model, (torch.ones(1, 2),))
    >>> [call.name for call in exported.output.get(Module)]
    ['0', '1', '0']
    >>> [call.name for call in dissolve(exported.output, "0").get(Module)]
    ['0.1', '0.0']
    """
    for name in names:
        calls = [node for node in outside_bodies(expr) if isinstance(node, Module) and node.name == name]
        if not calls:
            known = [node.name for node in outside_bodies(expr) if isinstance(node, Module)]
            raise MatchError(
                f"dissolve: there is no call {name!r}",
                nodes=[expr],
                expected=known,
                found=name,
                hint=f"the calls are {', '.join(map(repr, known[:12]))}; dissolve those around it first",
            )
        for call in calls:
            expr = update(expr, call, lambda node: _dissolved(node.cast(Module)))
    return expr


def _dissolved(call: Module) -> Expr:
    """The body with the call's name in its names, and the arguments in place of its symbols."""
    renamed: dict[Expr, Expr] = {}
    for node in outside_bodies(call.body):
        children = tuple(renamed.get(child, child) for child in node.children)
        if isinstance(node, Module):  # its body is shared with other layers, and stays as it is
            children = (node.body, *children[1:])
        new = node.with_children(children)
        if new.name and not isinstance(new, _KEEPS_ITS_NAME) and not new.name.startswith(f"{call.name}."):
            new = new.rename(f"{call.name}.{new.name}")
        renamed[node] = new
    body = renamed[call.body]
    inlined = substitute(call.with_children((body, *call.args)))
    return inlined.rename(body.name) if isinstance(body, Module) else inlined  # the calls in it keep names of their own


def outside_bodies(expr: Expr) -> Iterator[Expr]:
    """Every node but those in bodies of calls, children before parents."""
    return postorder([expr], below=lambda node: node.args if isinstance(node, Module) else node.children)
