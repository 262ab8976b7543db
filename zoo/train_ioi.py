"""Train the model of indirect objects that ships with the package; write its weights, its config and docs/ioi_model.md.

    python -m zoo.train_ioi

Everything is a function of the seed. One core takes some eight minutes. The tokenizer is that of `attn_only_2l`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer

from scrub.models.shipped import load_shipped
from scrub.tasks.generators.indirect_object import VARIANTS, ioi
from scrub.tasks.task import Task
from zoo.export import save_config
from zoo.ioi_model import IoiConfig, IoiTransformer
from zoo.ioi_page import write_page
from zoo.ioi_text import HELD_OUT_TEMPLATES, KIND_SHARES, NAMES, TEMPLATES, TextSource, held_out_prompts
from zoo.ioi_training import CurvePoint, IoiTraining, component_effects, score_task, text_loss, train_ioi

TOKENIZER = "attn_only_2l"
SIZES = IoiConfig()
N_SCORED = 1_000
SCORE_SEED = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    config = IoiTraining(seed=options.seed)
    tokenizer = load_shipped(TOKENIZER).tokenizer
    finished = _trained(config, tokenizer, options.checkpoint)
    _write(config, finished, tokenizer, out=options.out, page=options.page)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("scrub/models/shipped/ioi"), help="folder to write")
    parser.add_argument("--page", type=Path, default=Path("docs/ioi_model.md"), help="page to write")
    parser.add_argument(
        "--checkpoint", type=Path, default=None, help="a finished run: read if it is there, else written"
    )
    return parser.parse_args(arguments)


def _trained(config: IoiTraining, tokenizer: Tokenizer, checkpoint: Path | None) -> dict[str, Any]:
    """A finished run, trained now or read: weights, curve and minutes."""
    if checkpoint is not None and checkpoint.is_file():
        return torch.load(checkpoint, weights_only=True)
    started = time.monotonic()
    source = TextSource(tokenizer, n_ctx=SIZES.n_ctx, seed=config.seed)
    held_out = _tasks(tokenizer, 200, SCORE_SEED - 1)["other templates, other pairs"]
    model, curve = train_ioi(source, held_out, config, sizes=SIZES, report=lambda line: print(line, flush=True))
    finished = {
        "model": model.state_dict(),
        "curve": [dataclasses.asdict(point) for point in curve],
        "minutes": round((time.monotonic() - started) / 60),
    }
    if checkpoint is not None:
        torch.save(finished, checkpoint)
    return finished


def _write(config: IoiTraining, finished: dict[str, Any], tokenizer: Tokenizer, *, out: Path, page: Path) -> None:
    """Everything that ships, with scores of the half-precision weights."""
    model = _save_weights(finished["model"], out)
    training = dataclasses.asdict(config)
    entries: dict[str, Any] = {
        "name": "ioi",
        "transformer_lens": lens_config(SIZES),
        "tokenizer": TOKENIZER,
        "names": list(NAMES),
        "dtype": "float16",
        "training": {**training, "torch_version": torch.__version__.split("+")[0]},
        "train_loss": round(finished["curve"][-1]["train_loss"], 4),
        "fresh_text_loss": round(_fresh_text_loss(model, tokenizer), 4),
        "score_seed": SCORE_SEED,
        **_scores(model, tokenizer),
    }
    save_config(entries, out)
    facts: dict[str, Any] = {
        **dataclasses.asdict(SIZES),
        **training,
        **entries,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_tokens": config.n_steps * config.batch * SIZES.n_ctx,
        "n_templates": len(TEMPLATES),
        "n_held_out_templates": len(HELD_OUT_TEMPLATES),
        "shares": KIND_SHARES,
        "minutes": finished["minutes"],
    }
    write_page(page, facts, [CurvePoint(**point) for point in finished["curve"]])
    print(page.read_text(encoding="utf-8"))


def lens_config(sizes: IoiConfig) -> dict[str, Any]:
    """The fields of TransformerLens' config."""
    given = dataclasses.asdict(sizes)
    return {
        **{name: value for name, value in given.items() if name != "norm_eps"},
        "eps": sizes.norm_eps,
        "act_fn": "gelu_new",
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
    }


def _tasks(tokenizer: Tokenizer, n: int, seed: int) -> dict[str, Task]:
    """The same task with templates and pairs of names of training text, and with held-out ones."""
    return {
        f"{kind} templates, {pairs} pairs": Task.from_prompts(
            "ioi",
            held_out_prompts(templates, n, held_out_pairs=pairs == "other", seed=seed),
            tokenizer,
        )
        for kind, templates in {"training": TEMPLATES, "other": HELD_OUT_TEMPLATES}.items()
        for pairs in ("training", "other")
    }


def _scores(model: IoiTransformer, tokenizer: Tokenizer) -> dict[str, Any]:
    """On each kind of prompt, with either order of the names, on counterfactuals, and of the heads."""
    tasks = _tasks(tokenizer, N_SCORED, SCORE_SEED)
    hardest = tasks["other templates, other pairs"]
    orders = {
        order: hardest[[row for row, fact in enumerate(hardest.facts) if fact["order"] == order]]
        for order in ("ABBA", "BABA")
    }
    generated = {
        f"ioi, {variant}": ioi(tokenizer, N_SCORED, SCORE_SEED, counterfactual=variant, names=NAMES)
        for variant in VARIANTS
    }
    clean = {**tasks, **orders, "ioi": generated["ioi, abc"]}
    corrupted = {**tasks, **generated}
    return {
        "scores": {name: dataclasses.asdict(score_task(model, task)) for name, task in clean.items()},
        "counterfactual_scores": {
            name: dataclasses.asdict(score_task(model, task, counterfactual=True)) for name, task in corrupted.items()
        },
        "component_effects": component_effects(model, generated["ioi, abc"]),
    }


@torch.no_grad()
def _fresh_text_loss(model: IoiTransformer, tokenizer: Tokenizer, *, rows: int = 500) -> float:
    """On text of the same kind that training did not have."""
    source = TextSource(tokenizer, n_ctx=SIZES.n_ctx, seed=SCORE_SEED)
    return float(text_loss(model, source.draw(rows)))


def _save_weights(state: dict[str, torch.Tensor], folder: Path) -> IoiTransformer:
    """Write them in float16; the model that results, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in state.items()}
    path = folder / "model.safetensors"
    safetensors.torch.save_file(half, path)
    path.chmod(0o644)
    model = IoiTransformer(SIZES)
    model.load_state_dict({name: value.float() for name, value in half.items()})
    return model.requires_grad_(False)


if __name__ == "__main__":
    main()
