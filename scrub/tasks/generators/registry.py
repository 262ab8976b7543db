"""The generators of tasks, by name. Registering one is all it takes to generate it by name and to have it tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from scrub.graph import TaskError
from scrub.tasks.encoding import Prefix
from scrub.tasks.prompts import Prompt
from scrub.tasks.task import Task

Effect = Literal["changed", "same", "undefined"]
"""What a kind of counterfactual does to the right answer. "undefined": its text has no right answer."""


class Encoding(TypedDict, total=False):
    """How the prompts of every generator with texts become tokens; as in `Task.from_prompts`.

    Attributes:
        prefix: put before each prompt: an id, ids, or a special token's text such as "<|endoftext|>".
        padding: the side on which shorter prompts are padded.
        pad_token: the id at padding.
    """

    prefix: Prefix
    padding: Literal["right", "left"]
    pad_token: int


F = TypeVar("F", bound=Callable[..., Task])


@dataclass(frozen=True)
class Generator:
    """A registered generator.

    Attributes:
        name: of the task, and of the function that makes it.
        task: `task(tokenizer, n, seed, *, counterfactual, ...)`, a `Task` of n prompts.
        prompts: `prompts(n, seed, *, counterfactual, ...)`, the same as text. None where the task has no text.
        variants: the values of `counterfactual`, the default first, and what each does to the right answer.
        settings: other options, one mapping for each way to call it that the tests try.
    """

    name: str
    task: Callable[..., Task]
    prompts: Callable[..., list[Prompt]] | None
    variants: Mapping[str, Effect]
    settings: tuple[Mapping[str, Any], ...]


GENERATORS: dict[str, Generator] = {}


def generator(
    *,
    prompts: Callable[..., list[Prompt]] | None,
    variants: Mapping[str, Effect],
    settings: Sequence[Mapping[str, Any]] = ({},),
) -> Callable[[F], F]:
    """Decorator that registers a function under its name. The arguments are those of `Generator`."""

    def register(task: F) -> F:
        if task.__name__ in GENERATORS:
            raise TypeError(f"a generator named {task.__name__} is registered already")
        GENERATORS[task.__name__] = Generator(task.__name__, task, prompts, dict(variants), tuple(settings))
        return task

    return register


def generate(name: str, tokenizer: Any, *, n: int = 100, seed: int = 0, **options: Any) -> Task:
    """The task of this name.

    Args:
        name: of a registered generator.
        tokenizer: what `Task.from_prompts` accepts.
        n: number of prompts.
        seed: of everything that is drawn.
        options: what else the generator takes; those of `Encoding` among them.

    Raises:
        TaskError: no generator has this name, or the generator refuses; see there.

    >>> from scrub.models import load_shipped
    >>> task = generate("docstring", load_shipped("attn_only_2l").tokenizer, n=8, seed=0)
    >>> len(task), task.name
    (8, 'docstring')
    """
    if name not in GENERATORS:
        raise TaskError(
            f"no generator is named {name!r}; there are {', '.join(sorted(GENERATORS))}",
            expected=sorted(GENERATORS),
            found=name,
            hint="a generator is one file in scrub/tasks/generators that registers itself",
        )
    return GENERATORS[name].task(tokenizer, n=n, seed=seed, **options)
