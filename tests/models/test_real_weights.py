"""Models with real weights: trained language and algorithmic models, and programs compiled to transformers.

What they must reach is what `SOURCES.md` beside them states, measured by others with other software.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import pytest
import torch

import scrub as rc
from tests.models.real_weights import (
    attention_patterns,
    mean_ablated,
    needs_data,
    split_by_head,
    stories,
    tracr,
    without_edge,
)
from zoo.known_models import load_trained

pytestmark = needs_data
START = 1
GREEDY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big, red ball. She wanted to play with it, but it was too high."
)


def _continued(n_samples: int, length: int, choose: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Sequences from the start token on, each next token chosen from its logits [samples, vocabulary].

    What comes later does not matter to a causal model, so a few lengths do for all.
    """
    loaded, _, _ = stories()
    tokens = torch.full((n_samples, length), START)
    for stop in range(32, length + 32, 32):
        symbol = rc.Symbol.new_from_name((min(stop, length),), "tokens")
        program = rc.compile([loaded.call(symbol)], batched=[symbol])
        for at in range(max(stop - 32, 1), min(stop, length)):
            (logits,) = program.run({symbol: tokens[:, : symbol.shape[0]]})
            tokens[:, at] = choose(logits[:, at - 1])
    return tokens


@pytest.fixture(scope="module")
def samples() -> torch.Tensor:
    """16 samples at temperature 1, 96 tokens each."""
    generator = torch.Generator().manual_seed(0)
    return _continued(16, 96, lambda logits: torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0])


def _nll(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(-logits.log_softmax(-1).gather(-1, labels[..., None]).mean())


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(-1) == labels).float().mean())


def test_the_story_model_continues_greedily_as_stated() -> None:
    _, config, _ = stories()
    tokens = _continued(1, 80, lambda logits: logits.argmax(-1))[0, 1:]
    text = "".join(config["vocab"][token] for token in tokens.tolist())
    assert text.strip().startswith(GREEDY)


def test_the_story_model_s_loss_on_its_own_samples(samples: torch.Tensor) -> None:
    """1.22 nats as stated; the same tokens in another order are far from anything it has seen.

    Stated for those is "above 11". How they were shuffled there is not; Hugging Face's Llama gives 9.9 here as well.
    """
    loaded, _, _ = stories()
    order = torch.randperm(samples.shape[1] - 1, generator=torch.Generator().manual_seed(0)) + 1
    shuffled = torch.cat([samples[:, :1], samples[:, order]], dim=1)
    nll, of_shuffled = (_nll(loaded.call(x).evaluate()[:, :-1], x[:, 1:]) for x in (samples, shuffled))
    assert nll == pytest.approx(1.22, abs=0.15)
    assert of_shuffled > 9


def test_the_story_model_s_heads(samples: torch.Tensor) -> None:
    """Previous-token heads are 1.3, 1.6 and 3.6. None looks for what followed the last occurrence of its token."""
    loaded, config, _ = stories()
    previous = {
        head: float(pattern.diagonal(-1, -2, -1).mean())
        for head, pattern in attention_patterns(loaded, samples[:8]).items()
    }
    assert set(sorted(previous, key=lambda head: previous[head])[-3:]) == {"1.3", "1.6", "3.6"}
    half = torch.randint(3, config["vocab_size"], (4, 128), generator=torch.Generator().manual_seed(0))
    patterns = attention_patterns(loaded, torch.cat([half, half], dim=1))
    assert max(float(p.diagonal(-127, -2, -1)[..., 1:].mean()) for p in patterns.values()) < 0.02


def test_the_story_model_as_a_hugging_face_llama(samples: torch.Tensor) -> None:
    """Which rotates the first half of the features with the second: pairs of neighbours are moved apart."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: an extra")
    loaded, config, stored = stories()
    d_head, embeddings = config["dim"] // config["n_heads"], stored["tok_embeddings.weight"]
    weights = {
        "model.embed_tokens.weight": embeddings,
        "lm_head.weight": embeddings,
        "model.norm.weight": stored["norm"],
    }
    theirs = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        **{f"self_attn.{part}_proj": f"w{part}" for part in "qkvo"},
        "mlp.gate_proj": "w1",
        "mlp.down_proj": "w2",
        "mlp.up_proj": "w3",
    }
    for (name, ours), number in itertools.product(theirs.items(), range(config["n_layers"])):
        weight = stored[ours][number]
        if ours in ("wq", "wk"):
            heads = weight.unflatten(0, (-1, d_head))
            weight = torch.cat([heads[:, ::2], heads[:, 1::2]], dim=1).flatten(0, 1)
        weights[f"model.layers.{number}.{name}.weight"] = weight
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=config["dim"],
            intermediate_size=config["hidden_dim"],
            num_hidden_layers=config["n_layers"],
            num_attention_heads=config["n_heads"],
            num_key_value_heads=config["n_kv_heads"],
            vocab_size=config["vocab_size"],
            max_position_embeddings=config["max_seq_len"],
            rms_norm_eps=1e-5,
            rope_theta=10000.0,
            tie_word_embeddings=True,
        )
    ).eval()
    llama.load_state_dict(weights)
    with torch.no_grad():
        want = llama(samples[:4]).logits
    for model in (loaded, rc.models.load(llama)):
        error = (model.call(samples[:4]).evaluate() - want).abs().max()
        assert float(error) < 1e-5 * float(want.abs().max())


def test_sorting_ten_numbers() -> None:
    """Distinct numbers; the effect of each head as stated."""
    loaded, separator = load_trained("sorted_list_oct23"), 51
    numbers = torch.rand(1500, separator, generator=torch.Generator().manual_seed(0)).argsort(-1)[:, :10]
    labels = numbers.sort(-1).values
    tokens = torch.cat([numbers, torch.full((1500, 1), separator), labels], dim=1)
    logits = {head: mean_ablated(loaded, tokens, head)[:, 10:-1] for head in (None, "a0.h0", "a0.h1")}
    losses = {head: _nll(of, labels) for head, of in logits.items()}
    assert _accuracy(logits[None], labels) == pytest.approx(0.999, abs=0.001)
    assert losses[None] == pytest.approx(0.039, abs=0.005)
    assert losses["a0.h0"] - losses[None] == pytest.approx(0.92, abs=0.1)
    assert losses["a0.h1"] - losses[None] == pytest.approx(4.96, abs=0.15)


def test_the_first_unique_character() -> None:
    """Random letters after "?", which is also the answer where no letter is unique."""
    loaded, none = load_trained("first_unique_char_aug23"), 10
    tokens = torch.randint(0, 10, (1000, 20), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = none
    labels = torch.tensor([[_first_unique(row[1:stop], none) for stop in range(1, 21)] for row in tokens.tolist()])
    logits = loaded.call(tokens).evaluate()
    assert _accuracy(logits, labels) == pytest.approx(0.9955, abs=0.003)
    assert _nll(logits, labels) == pytest.approx(0.017, abs=0.006)


def _first_unique(letters: list[int], none: int) -> int:
    counts = Counter(letters)
    return next((letter for letter in letters if counts[letter] == 1), none)


def test_palindromes() -> None:
    """Half are palindromes; in the others each token of the second half was changed with probability 1/2."""
    loaded, (start, end), n = load_trained("palindrome_july23"), (31, 32), 2000
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(0, 31, (2 * n, 10), generator=generator)
    second = half.flip(-1)
    others = (second + torch.randint(1, 31, second.shape, generator=generator)) % 31
    is_changed = torch.rand(second.shape, generator=generator) < 0.5
    is_changed[:n] = False
    sequences = torch.cat([half, torch.where(is_changed, others, second)], dim=1)
    tokens = torch.cat([torch.full((2 * n, 1), start), sequences, torch.full((2 * n, 1), end)], dim=1)
    labels = (~is_changed.any(-1)).long()
    stated = {None: 7.489, "a0.h0": 0.614, "a0.h1": 6.642, "a1.h0": 0.299, "a1.h1": 6.815}
    logits = {head: mean_ablated(loaded, tokens, head)[:, -1] for head in stated}
    assert _nll(logits[None], labels) == pytest.approx(0.008, abs=0.008)
    assert _accuracy(logits[None], labels) > 0.995
    for head, expected in stated.items():
        right, wrong = (logits[head].gather(-1, label[:, None]) for label in (labels, 1 - labels))
        assert float((right - wrong).mean()) == pytest.approx(expected, abs=0.15), head


PROGRAMS: dict[str, Callable[[list[str]], list[float]]] = {
    "reverse": lambda letters: [float(letter) for letter in reversed(letters)],
    "sort": lambda letters: sorted(float(letter) for letter in letters),
    "hist": lambda letters: [letters.count(letter) for letter in letters],
    "length": lambda letters: [len(letters)] * len(letters),
    "count_less_freq": lambda letters: [sum(letters.count(letter) <= 2 for letter in letters)] * len(letters),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_compiled_program_gives_the_right_answer_on_every_input(name: str) -> None:
    """All inputs of up to five letters, after the start token; read at every letter."""
    loaded, config, _ = tracr(name)
    ids, labels = config["token_to_id"], [float(label.split(":")[1]) for label in config["output_labels"]]
    for length in range(1, config["max_seq_len"] + 1):
        inputs = [list(map(str, letters)) for letters in itertools.product(config["vocab"], repeat=length)]
        tokens = torch.tensor([[ids[config["bos"]], *(ids[letter] for letter in letters)] for letters in inputs])
        answers = loaded.call(tokens).evaluate()[:, 1:].argmax(-1).tolist()
        assert [[labels[i] for i in row] for row in answers] == [PROGRAMS[name](letters) for letters in inputs]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_compiled_program_s_logits_are_those_of_the_original(name: str) -> None:
    loaded, config, circuit = tracr(name)
    ids = config["token_to_id"]
    for example in config["examples"]:
        tokens = torch.tensor([ids[str(letter)] for letter in [config["bos"], *example["input"]]])
        error = (loaded.call(tokens).evaluate() - torch.tensor(example["logits"])).abs().max()
        assert float(error) < circuit["tol"]


@pytest.mark.parametrize(
    "name", ["hist", "length", "count_less_freq", "sort", pytest.param("reverse", marks=pytest.mark.slow)]
)
def test_zeroing_an_edge_changes_the_answer_where_the_circuit_says_so(name: str) -> None:
    """Each edge by a rewrite of the expression: one component reads zero in place of what another wrote."""
    loaded, config, circuit = tracr(name)
    batches = [torch.tensor([row for row in config["input_ids"] if len(row) == n][:24]) for n in (4, 6)]
    calls = [loaded.call(tokens, model=split_by_head(loaded, tokens.shape[-1])) for tokens in batches]
    before = [call.evaluate()[:, 1:] for call in calls]
    changed = {
        edge
        for edge in circuit["effects"]
        for call, logits in zip(calls, before, strict=True)
        if float((without_edge(call, edge, config["n_layers"]).evaluate()[:, 1:] - logits).abs().max()) > circuit["tol"]
    }
    assert changed == set(circuit["causal_zero"])
