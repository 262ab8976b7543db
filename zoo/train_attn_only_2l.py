"""Train the model that ships with the package and write its files: weights, tokenizer, config, and docs/model.md.

    python -m zoo.train_attn_only_2l

Everything is a function of the seed, the number of tokens and the running Python's standard library. Two cores take
most of an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from scrub.models.stdlib_text import corpus_digest, documents, held_out_sequences
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer
from zoo.batches import BatchSource, Ids
from zoo.candidates import CandidateRule, TokenRates, induction_candidates, token_rates
from zoo.export import load_weights, measure, save_config, save_tokenizer, save_weights
from zoo.report import write_page
from zoo.tokens import encode_all, train_tokenizer
from zoo.training import CurvePoint, TrainingConfig, train

MODEL = AttnOnlyConfig()
RULE = CandidateRule(window=MODEL.n_ctx)
THREADS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    texts = [document.text for document in documents("train")]
    tokenizer = train_tokenizer(texts, d_vocab=MODEL.d_vocab)
    train_ids = encode_all(tokenizer, texts)
    config = TrainingConfig(tokens=options.tokens, seed=options.seed)
    if options.export is None:
        finished = _train(config, tokenizer, train_ids, checkpoint=options.checkpoint)
    else:
        finished = torch.load(options.export, weights_only=True)
    _write(config, finished, tokenizer, train_ids, out=options.out, page=options.page, machine=options.machine)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=24_000_000, help="training tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("scrub/models/shipped/attn_only_2l"), help="folder to write")
    parser.add_argument("--page", type=Path, default=Path("docs/model.md"), help="page to write")
    parser.add_argument("--machine", default=f"{THREADS} processor cores", help="what the page says it was trained on")
    parser.add_argument("--checkpoint", type=Path, default=None, help="where to keep the state of training")
    parser.add_argument("--export", type=Path, default=None, help="a finished run's checkpoint: write its files only")
    return parser.parse_args(arguments)


def _train(
    config: TrainingConfig, tokenizer: Tokenizer, train_ids: Sequence[Ids], *, checkpoint: Path | None
) -> dict[str, Any]:
    """Train and return the finished run: weights, loss curve and minutes; the checkpoint ends up as the same."""
    model = AttnOnlyTransformer(MODEL, seed=config.seed)
    source = BatchSource(train_ids, n_ctx=MODEL.n_ctx, d_vocab=MODEL.d_vocab, seed=config.seed)
    held_out = held_out_sequences(tokenizer, MODEL.n_ctx)
    started = time.monotonic()
    curve = train(model, source, held_out, config, checkpoint=checkpoint, report=_say)
    finished = {
        "model": model.state_dict(),
        "curve": [dataclasses.asdict(point) for point in curve],
        "minutes": round((time.monotonic() - started) / 60),
    }
    if checkpoint is not None:
        torch.save(finished, checkpoint)
    return finished


def _write(
    config: TrainingConfig,
    finished: dict[str, Any],
    tokenizer: Tokenizer,
    train_ids: Sequence[Ids],
    *,
    out: Path,
    page: Path,
    machine: str,
) -> None:
    """Write everything that ships, with scores of the half-precision weights."""
    model = AttnOnlyTransformer(MODEL)
    model.load_state_dict(finished["model"])
    save_weights(model, out)
    save_tokenizer(tokenizer, out)
    curve = [CurvePoint(**point) for point in finished["curve"]]
    rates = token_rates(train_ids, d_vocab=MODEL.d_vocab, window=RULE.window)
    candidates = induction_candidates(rates, RULE)
    held_out = held_out_sequences(tokenizer, MODEL.n_ctx)
    entries: dict[str, Any] = {
        "name": "attn_only_2l",
        **dataclasses.asdict(MODEL),
        "positions": "shortformer",
        "normalization": "ln",
        "dtype": "float16",
        "python_version": platform.python_version(),
        "corpus_digest_train": corpus_digest("train"),
        "corpus_digest_held_out": corpus_digest("held_out"),
        "training": {**dataclasses.asdict(config), "torch_version": torch.__version__.split("+")[0]},
        "tokens_trained": curve[-1].tokens,
        "train_loss": round(curve[-1].train_loss, 4),
        **measure(load_weights(MODEL, out), held_out),
        "induction_candidate_rule": dataclasses.asdict(RULE),
        "induction_candidates": candidates,
    }
    save_config(entries, out)
    facts = {
        **entries,
        **dataclasses.asdict(config),
        **dataclasses.asdict(RULE),
        "trained_on": _trained_on(entries, train_ids),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_steps": config.n_steps(MODEL.n_ctx),
        "batch": config.n_text + config.n_repeated,
        "half": MODEL.n_ctx // 2,
        "minutes": finished["minutes"],
        "machine": machine,
        "n_sequences": len(held_out),
        "all_positions": held_out.shape[0] * (held_out.shape[1] - 1),
        "n_candidates": len(candidates),
        "candidate_examples": _examples(tokenizer, rates, candidates),
    }
    write_page(page, facts, curve)


def _trained_on(entries: dict[str, Any], train_ids: Sequence[Ids]) -> str:
    return (
        f"The shipped weights come from Python {entries['python_version']}: {len(train_ids):,} training documents with"
        f" {sum(map(len, train_ids)):,}\ntokens. Digests (xxh3_128): training `{entries['corpus_digest_train']}`,"
        f" held out\n`{entries['corpus_digest_held_out']}`."
    )


def _examples(
    tokenizer: Tokenizer, rates: TokenRates, candidates: Sequence[int], *, count: int = 12
) -> list[tuple[str, int, float, float]]:
    """The most frequent candidates: text, occurrences, r, m."""
    frequent = sorted(candidates, key=lambda token: -int(rates.occurrences[token]))[:count]
    return [
        (
            tokenizer.decode([token]),
            int(rates.occurrences[token]),
            float(rates.repeat_rate[token]),
            float(rates.bigram_rate[token]),
        )
        for token in frequent
    ]


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
