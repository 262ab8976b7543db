"""Reading a config so that nothing in it is silently ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from scrub.graph import CheckpointError

HARMLESS = frozenset(
    [
        "_name_or_path",
        "architectures",
        "auto_map",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "model_type",
        "is_encoder_decoder",
        "chunk_size_feed_forward",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "problem_type",
        "label2id",
        "id2label",
        "task_specific_params",
        "tokenizer_class",
        "finetuning_task",
        "prefix",
        "use_cache",
        "initializer_range",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        "cls_token_id",
        "mask_token_id",
        "tie_encoder_decoder",
        "tf_legacy_loss",
        "use_bfloat16",
        "keys_to_ignore_at_inference",
        "pretraining_tp",
        "gradient_checkpointing",
        "_attn_implementation",
        "attn_implementation",
        "_experts_implementation",
        "num_labels",
        "classifier_dropout",
        "cache_implementation",
        "generation_config",
    ]
)
"""Fields of any config that do not change logits: bookkeeping, generation, training, ways of computing the same.

Labels name the logits and their number is that of the classifier's weights, which families read.
"""


_SIZE = re.compile(r"(size|dim|embd|layer|(?<!window_)layers|heads?|positions|embeddings|channels|experts|inner)$")


class ConfigReader:
    """A config whose fields are read as attributes, and that remembers which were.

    >>> import types
    >>> config = types.SimpleNamespace(n_layer=2, n_heads=3, to_dict=lambda: {"n_layer": 2, "n_heads": 3})
    >>> reader = ConfigReader(config)
    >>> reader.n_layer
    2
    """

    def __init__(self, config: Any, harmless: frozenset[str] = frozenset()) -> None:
        self.config = config
        self._aliases: Mapping[str, str] = getattr(config.__class__, "attribute_map", {})
        self._read: set[str] = set()
        self._harmless = HARMLESS | harmless

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._read.add(self._aliases.get(name, name))
        if not hasattr(self.config, name):
            raise CheckpointError(
                f"the config lacks the field {name!r}", expected=name, found=sorted(self.config.to_dict())
            )
        value = getattr(self.config, name)
        if type(value) is int and value < 1 and _SIZE.search(name):
            self.refuse(name, expected="at least 1")
        return value

    def optional(self, name: str, default: Any) -> Any:
        """A field that configs of this kind need not have, and that counts if they do."""
        return getattr(self, name) if hasattr(self.config, name) else default

    @property
    def fields_read(self) -> frozenset[str]:
        """The fields that were read."""
        return frozenset(self._read)

    def choice(self, name: str, choices: Mapping[str, str]) -> str:
        """The value of a field, translated.

        Raises:
            CheckpointError: it is none of the choices.
        """
        value = getattr(self, name)
        if value not in choices:
            self.refuse(name, expected=sorted(choices))
        return choices[value]

    def refuse(self, name: str, *, expected: object) -> NoReturn:
        """Raise a `CheckpointError` that says that the value of this field is not supported."""
        value = getattr(self.config, name)
        raise CheckpointError(
            f"config field {name!r} is {value!r}, which is not supported",
            expected=expected,
            found=value,
            hint="scrub.models.from_torch(module, example_inputs) takes any module that torch.export accepts",
        )

    def check_all_read(self) -> None:
        """Raise a `CheckpointError` for a field that was not read, may change logits, and is not the default."""
        values = self.config.to_dict()
        defaults = type(self.config)().to_dict()
        for name, value in values.items():
            if name in self._read or name in self._harmless or is_for_training(name):
                continue
            if name not in defaults or value != defaults[name]:
                self.refuse(name, expected=defaults.get(name, "no such field"))

    def notes(self) -> tuple[str, ...]:
        """What the config asks for that has no effect at inference: dropout."""
        values = self.config.to_dict()
        dropouts = {name: value for name, value in values.items() if is_for_training(name) and value}
        return tuple(f"{name}={value} applies to training only and is left out" for name, value in dropouts.items())


def is_for_training(name: str) -> bool:
    """Whether a field is a rate of dropout."""
    return name.endswith(("dropout", "pdrop", "layerdrop", "dropout_prob", "jitter_noise", "aux_loss_coef"))
