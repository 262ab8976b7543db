"""Sizes of tiny models, and why they are skipped."""

REASON = "a peer of the benchmarks is not installed; `make bench` installs them"
TINY = {"n_layer": 2, "n_head": 3, "n_embd": 12, "vocab_size": 31, "n_positions": 16}
LLAMA = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 20,
    "vocab_size": 31,
    "max_position_embeddings": 16,
}
