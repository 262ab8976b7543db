"""Names of what is in a module, for when it is inlined."""

from __future__ import annotations

from scrub.graph import DiscreteVar, Expr, Module, postorder, rebuild


def qualified(body: Expr, prefix: str | None) -> Expr:
    """The body with the prefix on the names of inner nodes; not inside bodies of calls, nor below what is random."""
    if prefix is None:
        return body
    every = list(postorder([body]))
    bodies = [node.body for node in every if isinstance(node, Module)]
    within = set(
        postorder([*bodies, *(child for node in every if isinstance(node, DiscreteVar) for child in node.children)])
    )

    def transform(node: Expr, children: tuple[Expr, ...]) -> Expr:
        if node in within:
            return node
        made = node.with_children(children)
        is_named = node.children and node.name is not None and not node.name.startswith(f"{prefix}.")
        return made.rename(f"{prefix}.{node.name}") if is_named else made

    return rebuild([body], transform)[body]
