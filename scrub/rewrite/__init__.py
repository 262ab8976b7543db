"""How expressions change: matchers and paths, update, substitution, batching."""

from scrub.rewrite.expander import Expander
from scrub.rewrite.iterative import (
    IterativeMatcher,
    children_matcher,
    module_arg_matcher,
    new_traversal,
    restrict,
    spec_matcher,
)
from scrub.rewrite.matcher import Matcher, Regex
from scrub.rewrite.modules import get_free_symbols, module_new_bind
from scrub.rewrite.resize import bind_sizes, conform_all_modules
from scrub.rewrite.search import are_any_found, get, get_paths, get_unique
from scrub.rewrite.substitute import bind, partially_substitute, substitute, substitute_all_modules
from scrub.rewrite.update import update

__all__ = [
    "Expander",
    "IterativeMatcher",
    "Matcher",
    "Regex",
    "are_any_found",
    "bind",
    "bind_sizes",
    "children_matcher",
    "conform_all_modules",
    "get",
    "get_free_symbols",
    "get_paths",
    "get_unique",
    "module_arg_matcher",
    "module_new_bind",
    "new_traversal",
    "partially_substitute",
    "restrict",
    "spec_matcher",
    "substitute",
    "substitute_all_modules",
    "update",
]
