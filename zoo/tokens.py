"""The byte-level byte-pair tokenizer of the shipped model, and documents as token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from zoo.batches import Ids


def train_tokenizer(texts: Sequence[str], *, d_vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer (every text encodes and decodes without loss) with `d_vocab` tokens, none special.

    >>> tokenizer = train_tokenizer(["def f(x): return x"], d_vocab=258)
    >>> tokenizer.decode(tokenizer.encode("Zürich").ids)
    'Zürich'
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=d_vocab, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Token ids of every text, as int64 arrays."""
    return [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch(list(texts))]
