"""Tasks: prompts with counterfactuals and answers, for any model; and case studies with features of their data."""

from scrub.tasks.generators import GENERATORS, generate
from scrub.tasks.prompts import Prompt
from scrub.tasks.reading import read_columns, read_prompts, write_prompts
from scrub.tasks.task import Task
from scrub.tasks.task_file import load_task, save_task

__all__ = [
    "GENERATORS",
    "generate",
    "load_task",
    "Prompt",
    "read_columns",
    "read_prompts",
    "save_task",
    "Task",
    "write_prompts",
]
