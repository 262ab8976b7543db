"""The page of the model of indirect objects, docs/ioi_model.md, written from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.ioi_training import CurvePoint

_PAGE = """\
# The model of indirect objects

<!-- Written by zoo/train_ioi.py: change zoo/ioi_page.py, not this page. -->

`ioi` is a {n_layers}-layer transformer of GPT-2's kind, with MLPs and LayerNorm, that comes inside the package, so that
circuits can be looked for without a download. It was trained for `scrub` on sentences from templates, and it does
indirect object identification (Wang et al. 2022): after "When turtle and parser went to the store, parser gave a book
to" it continues with " turtle".

```python
>>> from scrub.models import load_shipped
>>> from scrub.tasks.generators import ioi
>>> model = load_shipped("ioi")
>>> task = ioi(model.tokenizer, 64, names=model.info["names"], counterfactual="abc")
>>> task.answers.shape, task.wrong.shape
(torch.Size([64, 1, 1]), torch.Size([64, 1, 1]))

```

## What it is

| | |
|---|---|
| layers, heads, d_model, d_head, d_mlp | {n_layers}, {n_heads}, {d_model}, {d_head}, {d_mlp} |
| vocabulary | {d_vocab} tokens: the tokenizer of [`attn_only_2l`](model.md), without special tokens |
| context | {n_ctx} tokens |
| parameters | {n_parameters:,}, stored in half precision |
| positions | learned, added to the residual stream |
| normalization | LayerNorm with weight and bias before attention, MLP and unembedding, epsilon {norm_eps} |
| activation | gelu, approximated by tanh |
| biases | everywhere but in the unembedding, which is not tied to the embedding |

The vocabulary was made for Python's source, and has none of the usual first names as one token. So names are
{n_names} words that are one token each, and that training text uses for nothing else; `model.info["names"]` has them:
{names}.

Files, in `scrub/models/shipped/ioi/`: `model.safetensors` (parameter names as in TransformerLens) and `config.json`
(sizes, names, training, scores).

## How it was trained

Text is made as it is needed (`zoo/ioi_text.py`). A row begins with a sentence and is filled with more of them:

| share | sentence |
|---|---|
| {two_names:.0%} | two names, one of them gives something: it goes to the other |
| {three_names:.0%} | two names, and a third one gives something: it goes to either of the first two, by chance |
| {filler:.0%} | other sentences with the same words |

There are {n_templates} templates, those of `scrub.tasks.generators.ioi` among them, and {n_held_out_templates} more
that training text never has. Either name may come first (ABBA and BABA). One pair of names in eight never comes
together as the two of a training sentence.

- {n_tokens:,} tokens in {n_steps:,} steps of {batch} rows of {n_ctx} tokens, seed {seed}; every token counts in the
  loss.
- Matrices of the layers: Muon (Jordan et al. 2024), attention head by head, learning rate {muon_lr}, weight decay
  {muon_weight_decay}. Embedding and unembedding: AdamW, learning rate {vocabulary_lr}, weight decay {weight_decay}.
  Positions, norms and biases: AdamW, learning rate {other_lr}. Warm-up of {warmup} steps; linear decay to zero from
  {decay_from:.0%} of the steps on.
- Time: {minutes} minutes on one processor core shared with other work (alone it does about 9,000 tokens a second).

{curve}

Loss is in nats per token. Accuracy and logit difference are of held-out templates with held-out pairs of names.

## How well it does

All numbers are of the half-precision weights run in single precision, on {n_scored:,} prompts of each kind.
Accuracy: how often the right name has a higher logit than the subject's. First: how often it has the highest of all
tokens. The loss on fresh text of the same kind is {fresh_text_loss:.3f} nats per token.

{scores}

With held-out templates and pairs by the order of the names: ABBA {abba:.3f}, BABA {baba:.3f}. "ioi" is
`scrub.tasks.generators.ioi` with this model's names.

The same right and wrong names after the counterfactual prompts. Where a third name gives, both are as likely; "abc" and
"names" have other names throughout, "flip" makes the subject right, and "order" changes nothing but places:

{counterfactuals}

## Which components matter

Mean logit difference on the prompts of "ioi" when the output of one component, at all positions, is taken from the run
on the counterfactual "abc" (without that: {clean:.2f}):

{components}

## Reproduce

`python -m zoo.train_ioi` trains the model anew and writes its files and this page. The same version of torch on the
same kind of processor gives the same weights; others give a model that differs in rounding first and visibly later.
"""


def write_page(path: Path, facts: Mapping[str, Any], curve: Sequence[CurvePoint]) -> None:
    """Write the page from what `zoo.train_ioi` gathered."""
    shares: dict[str, float] = facts["shares"]
    scores: dict[str, dict[str, Any]] = dict(facts["scores"])
    abba, baba = scores.pop("ABBA"), scores.pop("BABA")
    text = _PAGE.format(
        **{name: value for name, value in facts.items() if name not in ("names", "scores")},
        names=_wrapped(facts["names"]),
        n_names=len(facts["names"]),
        two_names=shares["two names"],
        three_names=shares["three names"],
        filler=shares["filler"],
        curve=_curve(curve),
        n_scored=next(iter(scores.values()))["n"],
        scores=_scores(scores, "prompts"),
        counterfactuals=_scores(facts["counterfactual_scores"], "counterfactuals of"),
        abba=abba["accuracy"],
        baba=baba["accuracy"],
        clean=scores["ioi"]["logit_difference"],
        components=_components(facts["component_effects"], facts["n_heads"], facts["n_layers"]),
    )
    path.write_text(text, encoding="utf-8")


def _wrapped(names: Sequence[str], *, width: int = 110) -> str:
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > width:
            lines.append("")
        lines[-1] += f"{name} "
    return "\n".join(line.strip() for line in lines)


def _curve(curve: Sequence[CurvePoint]) -> str:
    return _table(
        ("step", "training loss", "accuracy", "logit difference"),
        ((f"{p.step:,}", f"{p.train_loss:.3f}", f"{p.accuracy:.3f}", f"{p.logit_difference:.2f}") for p in curve),
    )


def _scores(scores: Mapping[str, Mapping[str, float]], what: str) -> str:
    return _table(
        (what, "accuracy", "logit difference", "first", "probability"),
        (
            (
                name,
                f"{s['accuracy']:.3f}",
                f"{s['logit_difference']:.2f}",
                f"{s['top_1']:.3f}",
                f"{s['probability']:.3f}",
            )
            for name, s in scores.items()
        ),
    )


def _components(effects: Mapping[str, float], n_heads: int, n_layers: int) -> str:
    return _table(
        ("layer", *(f"head {head}" for head in range(n_heads)), "MLP"),
        (
            (
                str(layer),
                *(f"{effects[f'{layer}.{head}']:.2f}" for head in range(n_heads)),
                f"{effects[f'mlp {layer}']:.2f}",
            )
            for layer in range(n_layers)
        ),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
