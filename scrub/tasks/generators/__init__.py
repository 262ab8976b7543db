"""Generators of tasks, one file each. Importing this package registers every file in it."""

import pkgutil
from importlib import import_module

from scrub.tasks.generators.addition import arithmetic, arithmetic_prompts
from scrub.tasks.generators.agreement import subject_verb_agreement, subject_verb_agreement_prompts
from scrub.tasks.generators.categories import hypernyms, hypernyms_prompts
from scrub.tasks.generators.cities import capitals, capitals_prompts
from scrub.tasks.generators.indirect_object import ioi, ioi_prompts
from scrub.tasks.generators.options import multiple_choice, multiple_choice_prompts
from scrub.tasks.generators.parameters import docstring, docstring_prompts
from scrub.tasks.generators.pronouns import gendered_pronouns, gendered_pronouns_prompts
from scrub.tasks.generators.registry import GENERATORS, Generator, generate, generator
from scrub.tasks.generators.repeated_tokens import induction
from scrub.tasks.generators.years import greater_than, greater_than_prompts

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "GENERATORS",
    "Generator",
    "arithmetic",
    "arithmetic_prompts",
    "capitals",
    "capitals_prompts",
    "docstring",
    "docstring_prompts",
    "gendered_pronouns",
    "gendered_pronouns_prompts",
    "generate",
    "generator",
    "greater_than",
    "greater_than_prompts",
    "hypernyms",
    "hypernyms_prompts",
    "induction",
    "ioi",
    "ioi_prompts",
    "multiple_choice",
    "multiple_choice_prompts",
    "subject_verb_agreement",
    "subject_verb_agreement_prompts",
]
