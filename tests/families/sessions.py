"""Sessions with the tiny models of families, and the methods that they are asked with."""

from __future__ import annotations

from dycoke_cli import DyCoke
from dycoke_cli.models.families import family_of
from dycoke_cli.models.load import LoadedModel
from tests.families.stock import MERGING_ONLY, NONE_ONLY
from tests.families.tiny import make

NEW_TOKENS = 6

# Ratios, and the method that has them.
METHODS: dict[str, tuple[float | None, float | None]] = {
    "ttm": (0.5, None),
    "kv": (None, 0.5),
    "dycoke": (0.5, 0.5),
}


def method_of(name: str, positions: str) -> DyCoke:
    merge_ratio, prune_ratio = METHODS[name]
    return DyCoke(
        merge_ratio=0.0 if merge_ratio is None else merge_ratio,
        prune_ratio=0.0 if prune_ratio is None else prune_ratio,
        ttm=merge_ratio is not None,
        kv_prune=prune_ratio is not None,
        prune_layer=2,
        positions=positions,
    )


def positions_of(family: str) -> tuple[str, ...]:
    known = family_of(make(family)[0].config)
    return ("kept", "renumbered") if known.counts_tokens else ("kept",)


def runs(family: str) -> list[str]:
    """The methods of the matrix that a family can serve."""
    if family in NONE_ONLY:
        return []
    return ["ttm"] if family in MERGING_ONLY else list(METHODS)


QUESTIONS = ("What is it?", "Is there a dog, and what does it do there?", "Why?")


def loaded_of(family: str) -> LoadedModel:
    model, processor = make(family)
    return LoadedModel(family, None, None, model, processor, family_of(model.config), 0.0)


def same(ours, theirs) -> bool:
    keys = ("answer", "tokens", "decode", "finish_reason", "question", "flops", "frames")
    return all(getattr(ours, key) == getattr(theirs, key) for key in keys)


# Positions that count tokens, with a run of placeholders and with a run a frame; in three
# dimensions; in four with DeepStack; without a mask of the decoder's own.
FAMILIES = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "cosmos3_omni", "glm4v")

CHUNK = 7


class Read:
    """Notes how many tokens each forward reads in an MLP."""

    def __init__(self, model) -> None:
        self.tokens: list[int] = []
        layer = model.get_decoder().layers[0]
        self._hook = layer.mlp.register_forward_hook(
            lambda module, args, output: self.tokens.append(args[0].shape[-2])
        )

    def __enter__(self) -> Read:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    @property
    def longest(self) -> int:
        return max(self.tokens)

    @property
    def prefilled(self) -> int:
        """Tokens of the prompt, over all its chunks: a decoding step reads one."""
        return sum(tokens for tokens in self.tokens if tokens > 1)
