"""Rewrites of modules, one a file: making calls, moving what they bind, taking them apart."""

from scrub.rewrite.modules.apply_in_traversal import apply_in_traversal
from scrub.rewrite.modules.binding import get_free_symbols, module_new_bind
from scrub.rewrite.modules.extract import extract_symbols
from scrub.rewrite.modules.fuse import fuse
from scrub.rewrite.modules.fuse_arguments import fuse_arguments
from scrub.rewrite.modules.inline_single import inline_single_callsite
from scrub.rewrite.modules.push_down import push_down_modules
from scrub.rewrite.modules.remove_unused import remove_unused_inputs
from scrub.rewrite.modules.rename_on_path import rename_on_replaced_path

__all__ = [
    "apply_in_traversal",
    "extract_symbols",
    "fuse",
    "fuse_arguments",
    "get_free_symbols",
    "inline_single_callsite",
    "module_new_bind",
    "push_down_modules",
    "remove_unused_inputs",
    "rename_on_replaced_path",
]
