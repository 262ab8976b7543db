"""Train the parentheses classifier that ships with the package, and write its weights and config.

    python -m zoo.train_parens --seeds 0 1 2 3

Several instances are trained, which differ in their seed alone; of those that are accurate enough the one ships whose
heads fit the roles best, by the rules of `zoo.parens_roles`. All instances' scores are in the config. Everything is a
function of the seeds. An instance takes about five minutes on one core; `--checkpoints` keeps finished ones, so that
several processes can each train some.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from scrub.tasks.parens.data import VOCABULARY, ParensData, parens_data
from zoo.export import save_config
from zoo.parens_model import ParensConfig, ParensTransformer
from zoo.parens_roles import FOLDER, Roles, find_roles, role_data
from zoo.parens_training import TEST_SEED, ParensTraining, accuracy, accuracy_by_kind, mean_loss, train_parens

MIN_ACCURACY = 0.999
N_TEST = 10_000


@dataclass(frozen=True)
class Instance:
    """A trained model with its scores on the test data."""

    seed: int
    model: ParensTransformer
    accuracy: float
    roles: Roles


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    test = parens_data(N_TEST, TEST_SEED, split="test")
    instances: list[Instance] = []
    for seed in options.seeds:
        model = _trained(ParensTraining(seed=seed), options.checkpoints)
        instances.append(Instance(seed, model, accuracy(model, test), find_roles(model, role_data())))
        roles = instances[-1].roles
        print(f"seed {seed}: accuracy {instances[-1].accuracy:.5f}, {roles}", flush=True)
    if not options.train_only:
        _write(best_of(instances), instances, test, out=options.out)


def best_of(instances: Sequence[Instance]) -> Instance:
    """Of those with an accuracy of `MIN_ACCURACY` (of all, if there are none) the one with the best fit."""
    accurate = [instance for instance in instances if instance.accuracy >= MIN_ACCURACY]
    return max(accurate or instances, key=lambda instance: instance.roles.fit)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(16)))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write")
    parser.add_argument("--checkpoints", type=Path, default=None, help="folder of finished instances")
    parser.add_argument("--train-only", action="store_true", help="write checkpoints only")
    return parser.parse_args(arguments)


def _trained(config: ParensTraining, checkpoints: Path | None) -> ParensTransformer:
    """Trained now, or from the folder of checkpoints."""
    path = None if checkpoints is None else checkpoints / f"parens_{config.seed}.safetensors"
    if path is not None and path.is_file():
        model = ParensTransformer(ParensConfig())
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.requires_grad_(False)
    model = train_parens(config, report=lambda line: print(line, flush=True))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _save_weights(model, path)
    return model


def _write(best: Instance, instances: Sequence[Instance], test: ParensData, *, out: Path) -> None:
    """Weights and config.json of the best instance, with the scores of all."""
    out.mkdir(parents=True, exist_ok=True)
    _save_weights(best.model, out / "model.safetensors")
    training = dataclasses.asdict(ParensTraining(seed=best.seed))
    entries: dict[str, Any] = {
        "name": "parens",
        "transformer_lens": lens_config(best.model.config),
        "reads_first": True,
        "vocabulary": list(VOCABULARY),
        "dtype": "float32",
        "training": {**training, "torch_version": torch.__version__.split("+")[0]},
        "n_test": N_TEST,
        "test_seed": TEST_SEED,
        "accuracy": best.accuracy,
        "accuracy_by_kind": accuracy_by_kind(best.model, test),
        "loss": mean_loss(best.model, test),
        **dataclasses.asdict(best.roles),
        "choice": f"best fit among instances with an accuracy of {MIN_ACCURACY}",
        "instances": [
            {"seed": instance.seed, "accuracy": instance.accuracy, **dataclasses.asdict(instance.roles)}
            for instance in instances
        ],
    }
    save_config(entries, out)
    for key, value in entries.items():
        print(f"{key}: {value}")


def lens_config(config: ParensConfig) -> dict[str, Any]:
    """The fields of TransformerLens' config."""
    sizes = dataclasses.asdict(config)
    return {
        **{name: value for name, value in sizes.items() if name != "norm_eps"},
        "eps": config.norm_eps,
        "act_fn": "relu",
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
        "attention_dir": "bidirectional",
    }


def _save_weights(model: ParensTransformer, path: Path) -> None:
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(weights, path)
    path.chmod(0o644)


if __name__ == "__main__":
    main()
