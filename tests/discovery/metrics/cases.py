"""Tasks with several places, answers and absences, and formulas of the metrics in numpy, one example at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from scrub.tasks.task import Task

VOCABULARY = 11


@dataclass
class Case:
    """Logits and original logits [b, k, V], NaN and infinity where there is no place, and their task."""

    task: Task
    logits: torch.Tensor
    original: torch.Tensor

    def of(self, rows: list[int]) -> "Case":
        return Case(self.task[rows], self.logits[rows], self.original[rows])


def case(seed: int, *, dtype: torch.dtype = torch.float64, n: int = 6, places: int = 3, scale: float = 2.0) -> Case:
    """Examples with 1 to `places` places and 1 to 3 right and 1 to 2 wrong answers at each."""
    random = np.random.default_rng(seed)
    positions = np.full((n, places), -1)
    answers, wrong = np.full((n, places, 3), -1), np.full((n, places, 2), -1)
    for example in range(n):
        for place in random.choice(places, size=random.integers(1, places + 1), replace=False):
            positions[example, place] = place
            tokens = random.permutation(VOCABULARY)
            right_count, wrong_count = random.integers(1, 4), random.integers(1, 3)
            answers[example, place, :right_count] = tokens[:right_count]
            wrong[example, place, :wrong_count] = tokens[5 : 5 + wrong_count]
    task = Task.from_tokens(
        "generated",
        torch.from_numpy(random.integers(0, VOCABULARY, (n, places))),
        positions=torch.from_numpy(positions),
        answers=torch.from_numpy(answers),
        wrong=torch.from_numpy(wrong),
    )
    logits, original = (torch.from_numpy(random.normal(size=(n, places, VOCABULARY)) * scale).to(dtype) for _ in "ab")
    absent = torch.from_numpy(positions < 0)
    logits[absent] = torch.nan
    original[absent] = torch.inf
    return Case(task, logits, original)


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max()
    return shifted - np.log(np.exp(shifted).sum())


def kl(x: np.ndarray, right: list[int], wrong: list[int], o: np.ndarray) -> float:
    p, q = np.exp(log_softmax(o)), np.exp(log_softmax(x))
    return float(sum(p[t] * np.log(p[t] / q[t]) for t in range(len(x))))


def rank(x: np.ndarray, right: list[int]) -> float:
    best = max(x[t] for t in right)
    others = [x[t] for t in range(len(x)) if t not in right]
    return 1 + sum(value > best for value in others) + sum(value == best for value in others) / 2


def share_of_best(x: np.ndarray, right: list[int], among: list[int]) -> float:
    top = [t for t in among if x[t] == max(x[u] for u in among)]
    return sum(t in right for t in top) / len(top)


PER_PLACE: dict[str, Callable[[np.ndarray, list[int], list[int], np.ndarray], float]] = {
    "logit_difference": lambda x, right, wrong, o: np.mean([x[t] for t in right]) - np.mean([x[t] for t in wrong]),
    "answer_logit": lambda x, right, wrong, o: np.mean([x[t] for t in right]),
    "probability_difference": lambda x, right, wrong, o: (
        (sum(np.exp(x[t]) for t in right) - sum(np.exp(x[t]) for t in wrong)) / np.exp(x).sum()
    ),
    "answer_probability": lambda x, right, wrong, o: sum(np.exp(x[t]) for t in right) / np.exp(x).sum(),
    "answer_log_probability": lambda x, right, wrong, o: np.log(sum(np.exp(x[t]) for t in right) / np.exp(x).sum()),
    "cross_entropy": lambda x, right, wrong, o: -sum(log_softmax(x)[t] for t in right) / len(right),
    "kl_divergence": kl,
    "accuracy": lambda x, right, wrong, o: share_of_best(x, right, list(range(len(x)))),
    "accuracy_among_answers": lambda x, right, wrong, o: share_of_best(x, right, right + wrong),
    "reciprocal_rank": lambda x, right, wrong, o: 1 / rank(x, right),
}
"""Formula of each metric at one place: logits [V], right tokens, wrong tokens, original logits [V]."""


def by_hand(name: str, given: Case) -> np.ndarray:
    """The metric of each example, in float64."""
    logits, original = given.logits.double().numpy(), given.original.double().numpy()
    result: list[float] = []
    for example, positions in enumerate(given.task.positions.tolist()):
        values = [
            PER_PLACE[name](
                logits[example, place],
                [t for t in given.task.answers[example, place].tolist() if t != -1],
                [t for t in given.task.wrong[example, place].tolist() if t != -1],
                original[example, place],
            )
            for place, position in enumerate(positions)
            if position != -1
        ]
        result.append(float(np.mean(values)))
    return np.array(result)
