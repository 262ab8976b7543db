"""What circuit discovery is measured beside: plain passes of Hugging Face, and published packages where they install.

    python -m benchmarks.discovery_peers [--rounds 3] [--threads 2] [--clock processor]

prints which packages there are and what they cost, in units of a plain pass of the same model measured beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata, util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.memory import peak_bytes
from benchmarks.peers import GPT2_SMALL, Hooked, HuggingFace, gpt2_config, hugging_face, transformer_lens
from benchmarks.timing import CLOCKS, Row, compare

FOUR_LAYERS = {"n_layer": 4, "n_head": 8, "n_embd": 256, "vocab_size": 2048, "n_positions": 1024}
MODELS: Mapping[str, Mapping[str, int]] = {"4 layers, d_model 256": FOUR_LAYERS, "GPT-2 small": GPT2_SMALL}


@dataclass(frozen=True)
class Pairs:
    """Random tokens in place of prompts: int64 `clean` and `corrupted` [batch, seq], `right` and `wrong` [batch]."""

    clean: Tensor
    corrupted: Tensor
    right: Tensor
    wrong: Tensor


def draw_pairs(d_vocab: int, *, batch: int, seq: int, seed: int = 0) -> Pairs:
    """Pairs of prompts that differ at every position, and answers that differ.

    >>> pairs = draw_pairs(100, batch=8, seq=15)
    >>> bool((pairs.clean != pairs.corrupted).all()), bool((pairs.right != pairs.wrong).all())
    (True, True)
    """
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(d_vocab, (batch, seq), generator=generator)
    shift = torch.randint(1, d_vocab, (batch, seq), generator=generator)
    right = torch.randint(d_vocab, (batch,), generator=generator)
    other = torch.randint(1, d_vocab, (batch,), generator=generator)
    return Pairs(clean, (clean + shift) % d_vocab, right, (right + other) % d_vocab)


def logit_differences(logits: Tensor, pairs: Pairs) -> Tensor:
    """Of the right and the wrong answer at the last position [batch], from logits [batch, seq, d_vocab]."""
    rows = torch.arange(len(logits))
    return logits[rows, -1, pairs.right] - logits[rows, -1, pairs.wrong]


def plain_forward(model: HuggingFace, pairs: Pairs) -> Tensor:
    """One plain pass: logits at all positions, and from them the logit differences [batch]."""
    with torch.inference_mode():
        return logit_differences(model(pairs.clean, use_cache=False).logits, pairs)


def plain_forward_backward(model: HuggingFace, pairs: Pairs, *, weight_gradients: bool) -> Tensor:
    """One plain pass forward and backward: the gradient of the mean logit difference by the embeddings of tokens.

    Args:
        model: its weights need no gradients; they are left so.
        pairs: the clean prompts are run.
        weight_gradients: whether gradients of all weights are computed too, as `loss.backward()` does of a model as it
            comes. They are dropped before this returns.

    Returns:
        [batch, seq, d_model].
    """
    embedded = model.get_input_embeddings()(pairs.clean).detach().requires_grad_()
    model.requires_grad_(weight_gradients)
    try:
        logit_differences(model(inputs_embeds=embedded, use_cache=False).logits, pairs).mean().backward()
    finally:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)
    if embedded.grad is None:
        raise RuntimeError("the backward pass left no gradient at the embeddings")
    return embedded.grad


def peak_ratio(
    ours: Callable[[], object], model: HuggingFace, pairs: Pairs, *, weight_gradients: bool = False
) -> float:
    """Peak memory of a call over that of a plain forward and backward pass, both beyond the weights."""
    plain = partial(plain_forward_backward, model, pairs, weight_gradients=weight_gradients)
    ours()
    plain()
    return peak_bytes(ours) / peak_bytes(plain)


def statuses() -> dict[str, str]:
    """Package -> its version, or why there is nothing to measure."""
    return {"auto-circuit": _status("auto-circuit", _import_auto_circuit), "EAP-IG": _eap_ig_status()}


def _status(package: str, load: Callable[[], object]) -> str:
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
    try:
        load()
    except ImportError as error:
        return f"{version}, which does not import beside this version of transformer-lens: {error}"
    return version


def _eap_ig_status() -> str:
    """Nothing on the package index has its name; `eap` there is about the pricing of assets."""
    found = util.find_spec("eap")
    if found is None or util.find_spec("eap.attribute") is None:
        return "not installed: it is not on the package index"
    return "installed from its repository, which is not measured here"


def _import_auto_circuit() -> ModuleType:
    """AutoCircuit 1.0.1 takes one class from where transformer-lens had it until 2.x; it is shown there again."""
    lens: Any = import_module("transformer_lens")
    if not hasattr(lens, "HookedTransformerKeyValueCache") and hasattr(lens, "TransformerLensKeyValueCache"):
        lens.HookedTransformerKeyValueCache = lens.TransformerLensKeyValueCache
        former: Any = ModuleType("transformer_lens.past_key_value_caching")
        former.HookedTransformerKeyValueCache = lens.TransformerLensKeyValueCache
        sys.modules.setdefault(former.__name__, former)
    return import_module("auto_circuit.prune")


Scores = Mapping[str, Tensor]
"""AutoCircuit's: by the hook at which a reader reads, one score for each writer before it."""


class AutoCircuit:
    """AutoCircuit on the weights of a Hugging Face model, run by TransformerLens, with one batch of prompts.

    Args:
        model: a GPT-2.
        pairs: the prompts; edges are patched with what the corrupted ones give.
        per_position: whether an edge at each position counts as an edge of its own.

    Raises:
        ImportError: the package is not there; see `statuses`.
    """

    def __init__(self, model: HuggingFace, pairs: Pairs, *, per_position: bool = False) -> None:
        _import_auto_circuit()
        data: Any = import_module("auto_circuit.data")
        graphs: Any = import_module("auto_circuit.utils.graph_utils")
        hooked: Hooked = transformer_lens(model)
        hooked.set_use_attn_result(True)
        hooked.set_use_split_qkv_input(True)
        hooked.set_use_hook_mlp_in(True)
        batch, seq = pairs.clean.shape
        answers = (list(pairs.right[:, None]), list(pairs.wrong[:, None]))
        self.n_layers, self.n_heads = int(model.config.n_layer), int(model.config.n_head)
        self.prompts: Any = data.PromptDataLoader(
            data.PromptDataset(pairs.clean, pairs.corrupted, *answers),
            seq_len=seq,
            diverge_idx=0,
            batch_size=batch,
            shuffle=False,
        )
        self.model: Any = graphs.patchable_model(
            hooked,
            factorized=True,
            slice_output="last_seq",
            seq_len=seq if per_position else None,
            separate_qkv=True,
        )

    @property
    def n_edges(self) -> int:
        """How many it patches."""
        return len(self.model.edges)

    def eap(self) -> Scores:
        """Edge attribution patching of the logit difference, by the gradient of each edge's mask at 0."""
        return self._mask_gradients(mask_val=0.0)

    def mask_integrated(self, steps: int) -> Scores:
        """Gradients of masks at `steps` + 1 values from 0 to 1, summed."""
        return self._mask_gradients(integrated_grad_samples=steps)

    def _mask_gradients(self, **options: Any) -> Scores:
        library: Any = import_module("auto_circuit.prune_algos.mask_gradient")
        with _silent():
            return library.mask_gradient_prune_scores(
                self.model, self.prompts, None, grad_function="logit", answer_function="avg_diff", **options
            )

    def run_circuits(self, scores: Scores, sizes: Sequence[int]) -> dict[int, Tensor]:
        """By number of edges, logits [batch, d_vocab] at the last position of the circuit of so many best edges."""
        library: Any = import_module("auto_circuit.prune")
        types: Any = import_module("auto_circuit.types")
        with _silent():
            found = library.run_circuits(self.model, self.prompts, list(sizes), scores, types.PatchType.TREE_PATCH)
        return {size: next(iter(by_batch.values())) for size, by_batch in found.items()}

    def matrix(self, scores: Scores, readers: Sequence[str], writers: Sequence[str]) -> Tensor:
        """The scores in our order and sign: [n_readers, n_writers], positive where corrupting raises the metric.

        Args:
            scores: what `eap` or `mask_integrated` gave, without positions.
            readers: "a0.h1.q", "m0", "logits".
            writers: "input", "a0.h1", "m0".
        """
        columns = {"input": 0}
        for layer in range(self.n_layers):
            parts = [*(f"a{layer}.h{head}" for head in range(self.n_heads)), f"m{layer}"]
            columns |= {name: len(columns) + i for i, name in enumerate(parts)}
        made = torch.zeros(len(readers), len(writers), dtype=torch.float64)
        for row, reader in enumerate(readers):
            read = self._scores_of(scores, reader)
            for column, writer in enumerate(writers):
                if columns[writer] < len(read):
                    made[row, column] = -read[columns[writer]]
        return made

    def _scores_of(self, scores: Scores, reader: str) -> Tensor:
        """Those of the writers before a reader; AutoCircuit differentiates the loss, which is the metric's negative."""
        if reader == "logits":
            return scores[f"blocks.{self.n_layers - 1}.hook_resid_post"]
        if reader.startswith("m"):
            return scores[f"blocks.{reader[1:]}.hook_mlp_in"]
        layer, head, letter = reader.split(".")
        return scores[f"blocks.{layer[1:]}.hook_{letter}_input"][int(head[1:])]


@contextlib.contextmanager
def _silent() -> Generator[None]:
    """Without the progress bars, which take time too."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def peer_rows(name: str, *, rounds: int, clock: str = "wall", batch: int = 8, seq: int = 15) -> Iterator[Row]:
    """What AutoCircuit costs on one of `MODELS`, in units of plain passes."""
    model = hugging_face(gpt2_config(MODELS[name]))
    pairs = draw_pairs(model.config.vocab_size, batch=batch, seq=seq)
    forward = partial(plain_forward, model, pairs)
    both = partial(plain_forward_backward, model, pairs, weight_gradients=False)
    size = f"{name}, {batch} x {seq} tokens"
    measure = partial(compare, rounds=rounds, clock=clock)
    yield measure(
        "forward+backward with gradients of weights / without",
        size,
        partial(plain_forward_backward, model, pairs, weight_gradients=True),
        both,
    )
    yield measure("forward+backward / forward", size, both, forward)
    peer = AutoCircuit(model, pairs)
    scores = peer.eap()
    circuits = [peer.n_edges * (i + 1) // 10 for i in range(8)]
    of = f"{size}, {peer.n_edges:,} edges"
    for what, ours, plain in (
        ("EAP / forward+backward", peer.eap, both),
        ("mask-integrated gradients, 5 steps / forward+backward", partial(peer.mask_integrated, 5), both),
        ("one circuit / forward", partial(peer.run_circuits, scores, circuits[:1]), forward),
        ("eight circuits / forward", partial(peer.run_circuits, scores, circuits), forward),
    ):
        yield measure(f"AutoCircuit, {what}", of, ours, plain)
    yield Row("AutoCircuit, peak memory of EAP / forward+backward", of, (peak_ratio(peer.eap, model, pairs),))
    by_position = AutoCircuit(model, pairs, per_position=True)
    of = f"{size}, {by_position.n_edges:,} edges"
    yield measure("AutoCircuit, EAP per position / forward+backward", of, by_position.eap, both)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: of all threads, on a busy machine")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = statuses()
    for package, status in found.items():
        print(f"{package}: {status}", flush=True)
    if not found["auto-circuit"][:1].isdigit():
        return
    for name in options.models:
        for row in peer_rows(name, rounds=options.rounds, clock=options.clock):
            print(f"{row.what}, {row.size}: {row.median:.3g} ({row.low:.3g} to {row.high:.3g}) {row.note}", flush=True)


if __name__ == "__main__":
    main()
