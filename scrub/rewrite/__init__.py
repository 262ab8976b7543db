"""How expressions change: matchers and paths, update, substitution, batching."""

from scrub.rewrite.canonicalize import canonicalize
from scrub.rewrite.checked import checked
from scrub.rewrite.counting import count_paths, get_all_paths, iter_paths
from scrub.rewrite.expander import Expander
from scrub.rewrite.explain import Explanation, explain
from scrub.rewrite.iterative import (
    IterativeMatcher,
    children_matcher,
    directly_below,
    module_arg_matcher,
    new_traversal,
    not_through,
    restrict,
    spec_matcher,
)
from scrub.rewrite.matcher import Matcher, Regex
from scrub.rewrite.matcher_text import matcher_text, parse_matcher
from scrub.rewrite.modules import (
    apply_in_traversal,
    extract_symbols,
    fuse,
    fuse_arguments,
    get_free_symbols,
    inline_single_callsite,
    module_new_bind,
    push_down_modules,
    remove_unused_inputs,
    rename_on_replaced_path,
)
from scrub.rewrite.resize import bind_sizes, conform_all_modules
from scrub.rewrite.rule import REWRITES, NoMatch, Rule, rewrite
from scrub.rewrite.search import are_any_found, get, get_paths, get_unique
from scrub.rewrite.simplify import simplify
from scrub.rewrite.substitute import bind, partially_substitute, substitute, substitute_all_modules
from scrub.rewrite.trace import Step, Trace
from scrub.rewrite.update import update

__all__ = [
    "Expander",
    "Explanation",
    "IterativeMatcher",
    "Matcher",
    "NoMatch",
    "REWRITES",
    "Regex",
    "Rule",
    "Step",
    "Trace",
    "apply_in_traversal",
    "are_any_found",
    "bind",
    "bind_sizes",
    "canonicalize",
    "checked",
    "children_matcher",
    "conform_all_modules",
    "count_paths",
    "directly_below",
    "explain",
    "extract_symbols",
    "fuse",
    "fuse_arguments",
    "get",
    "get_all_paths",
    "get_free_symbols",
    "get_paths",
    "get_unique",
    "inline_single_callsite",
    "iter_paths",
    "matcher_text",
    "module_arg_matcher",
    "module_new_bind",
    "new_traversal",
    "not_through",
    "parse_matcher",
    "partially_substitute",
    "push_down_modules",
    "remove_unused_inputs",
    "rename_on_replaced_path",
    "restrict",
    "rewrite",
    "simplify",
    "spec_matcher",
    "substitute",
    "substitute_all_modules",
    "update",
]
