"""How much memory an answer will take, and whether the device has that.

Arithmetic on a few sizes of a model and of a prompt. Importing this doesn't import torch. What it
ignores (norms, masks, rotary tables, fragmentation) is what `MARGIN` is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from dycoke_cli.engine.chunks import chunk_length, chunk_numbers
from dycoke_cli.resources import in_words

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.prompt import VideoPrompt

CHANNELS = 3
MARGIN = 1.05
# What CUDA and its libraries take of a GPU before anything is computed.
CUDA_CONTEXT = 600_000_000
# Of a token in the vocabulary: a tokenizer of 152,000 takes 46 MB of main memory.
TOKENIZER_ENTRY = 300
# Of one token, at the widest point of an MLP: gate, up, and their product.
MLP_STATES = 3
# Around it: the residual, its norm, and what the layer was given.
HIDDEN_STATES = 3
# Of one patch, in attention: residual, norm, query, key, value, output, and the layer that is
# handed on; and in the MLP the first three of them, beside the two sides of its middle.
VISION_ATTENTION_STATES, VISION_HIDDEN_STATES, VISION_MLP_STATES = 7, 3, 2
# Of the last position's logits: in the dtype of the weights, in float32, and softened.
LOGITS_BYTES = 3 * 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Args:
        weights: bytes.
        dtype_bytes: bytes of one number of its dtype.
        layers: of the language model.
        hidden: width of its hidden states.
        mlp: width of the middle of its MLPs.
        kv: numbers in the keys and values of one token in one layer.
        vocabulary: tokens it knows.
        vision_hidden: width of the hidden states of the vision tower.
        vision_mlp: width of the middle of its MLPs.
        patch: numbers of pixels in a patch.
        stacked: more embeddings per visual token, added inside the language model (DeepStack).
    """

    weights: int
    dtype_bytes: int
    layers: int
    hidden: int
    mlp: int
    kv: int
    vocabulary: int
    vision_hidden: int
    vision_mlp: int
    patch: int
    stacked: int = 0


@dataclass(frozen=True)
class Work:
    """Sizes of a prompt.

    Args:
        visual: visual tokens before anything is dropped.
        kept: visual tokens that the language model reads.
        text: other tokens of the prompt.
        chunk_len: tokens of the prompt that go through a layer together.
        spare: entries that the KV cache has in store for generated tokens.
        patches: that go through the vision tower together.
    """

    visual: int
    kept: int
    text: int
    chunk_len: int
    spare: int
    patches: int


@dataclass(frozen=True)
class Estimate:
    """Bytes that an answer takes.

    Args:
        weights: of the model.
        kv: of keys and values, after prefill.
        vision: at the peak of encoding.
        prefill: at the peak of prefill, keys and values included.
    """

    weights: int
    kv: int
    vision: int
    prefill: int

    @property
    def working(self) -> int:
        """Everything but the weights, at the peak."""
        return max(self.vision, self.prefill)

    def total(self, context: int = 0) -> int:
        """Weights and all, with a margin, behind what the device takes for itself."""
        return with_margin(self.weights + self.working, context)


def with_margin(needed: int, context: int = 0) -> int:
    """What has to be free for so many bytes: a margin more, behind what the device takes itself."""
    return int(needed * MARGIN) + context


def estimate(sizes: Sizes, work: Work) -> Estimate:
    """What an answer takes."""
    read, token = work.kept + work.text, sizes.hidden * sizes.dtype_bytes
    features = (1 + sizes.stacked) * work.visual * token
    attention = VISION_ATTENTION_STATES * sizes.vision_hidden
    mlp = VISION_HIDDEN_STATES * sizes.vision_hidden + VISION_MLP_STATES * sizes.vision_mlp
    patch = sizes.patch + max(attention, mlp)
    kv = sizes.layers * sizes.kv * sizes.dtype_bytes * (read + work.spare)
    layer = (
        work.chunk_len * (MLP_STATES * sizes.mlp + HIDDEN_STATES * sizes.hidden) * sizes.dtype_bytes
    )
    # The prompt is there whole before anything is dropped from it.
    prompt = (work.visual + work.text) * token
    return Estimate(
        weights=sizes.weights,
        kv=kv,
        vision=features + work.patches * patch * sizes.dtype_bytes,
        prefill=features + prompt + layer + kv + LOGITS_BYTES * sizes.vocabulary,
    )


def estimate_answer(loaded: LoadedModel, video: VideoPrompt, method: Method, text: int) -> Estimate:
    """What the answer to one question takes of a loaded model's device.

    Args:
        loaded: the model.
        video: what its processor made of the video.
        method: what is dropped.
        text: tokens of the prompt that aren't visual.
    """
    from dycoke_cli.engine.chunked_prefill import has_own_attention
    from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES
    from dycoke_cli.engine.supported import makes_own_masks, other_caches
    from dycoke_cli.models.devices import input_device

    model = loaded.model
    decoder = model.get_decoder()
    read = method.kept_tokens(video.frames, video.tokens_per_frame)
    whole = (
        method.inside() is not None or makes_own_masks(model) or bool(other_caches(decoder.config))
    )
    vision = getattr(model.config, "vision_config", None)
    on_cpu = input_device(model).type == "cpu"
    work = Work(
        visual=video.visual,
        kept=read,
        text=text,
        chunk_len=read + text if whole else chunk_length(read + text, has_own_attention(decoder)),
        spare=SPARE_ENTRIES,
        patches=patches_together(
            method, vision, video.frames, video.tokens_per_frame, on_cpu=on_cpu
        ),
    )
    sizes = sizes_of(decoder.config, vision, loaded.weights_bytes, loaded.model.dtype.itemsize)
    return estimate(sizes, work)


def patches_together(
    method: Method, vision: Any, frames: int, per_frame: int, *, on_cpu: bool
) -> int:
    """Patches that go through a vision tower together.

    Args:
        method: which may need several frames at a time.
        vision: configuration of the tower.
        frames: of the video.
        per_frame: visual tokens of each.
        on_cpu: whether the tower is.
    """
    usual = chunk_numbers(on_cpu) // patch_numbers(vision)
    merging = method.before_vision() or method.merge_frames()
    if merging is None:
        return usual
    return max(usual, min(frames, merging.window) * patches_of_frame(vision, per_frame))


def patches_of_frame(vision: Any, per_frame: int) -> int:
    """Patches that a vision tower makes of a frame.

    Args:
        vision: configuration of the tower.
        per_frame: visual tokens of a frame.
    """
    side = _first(vision, "spatial_merge_size", default=0)
    frame, patch = (
        _sides(_first(vision, name, default=0)) for name in ("image_size", "patch_size")
    )
    of_frame = prod(a // b for a, b in zip(frame, patch, strict=True)) if all(patch) else 0
    if side or not of_frame:  # frames of any size, and squares of patches that become a token
        return per_frame * _area(side or 2)
    return of_frame


def patch_numbers(vision: Any) -> int:
    """Numbers of pixels in a patch.

    Args:
        vision: configuration of the tower.
    """
    return CHANNELS * _area(_first(vision, "patch_size", default=14))


def _sides(side: int | Sequence[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def _area(side: int | Sequence[int]) -> int:
    return prod(_sides(side))


def sizes_of(text: Any, vision: Any, weights: int, dtype_bytes: int) -> Sizes:
    """The sizes of a model.

    Args:
        text: configuration of its language model.
        vision: of its vision tower, or None.
        weights: bytes.
        dtype_bytes: bytes of one number of its dtype.
    """
    heads = _first(text, "num_key_value_heads", "num_attention_heads", default=1)
    width = _first(text, "head_dim", default=text.hidden_size // text.num_attention_heads)
    vision_hidden = _first(vision, "embed_dim", "hidden_size", default=0)
    return Sizes(
        weights=weights,
        dtype_bytes=dtype_bytes,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        mlp=_first(text, "intermediate_size", default=4 * text.hidden_size),
        kv=2 * heads * width,
        vocabulary=text.vocab_size,
        vision_hidden=vision_hidden,
        vision_mlp=_first(vision, "intermediate_size", default=4 * vision_hidden),
        patch=patch_numbers(vision),
        stacked=len(_first(vision, "deepstack_visual_indexes", default=())),
    )


def memory_warning(
    loaded: LoadedModel, video: VideoPrompt, method: Method, text: int
) -> str | None:
    """A sentence where a question will hardly fit on the device; None where it will, or who knows.

    Args: as of `estimate_answer`.
    """
    if loaded.free_bytes is None:
        return None
    from dycoke_cli.models.devices import input_device

    on_cuda = input_device(loaded.model).type == "cuda"
    total = estimate_answer(loaded, video, method, text).total(CUDA_CONTEXT if on_cuda else 0)
    if total <= loaded.free_bytes:
        return None
    return (
        f"this may not fit: it {in_words(total, loaded.free_bytes)} on {loaded.device}; use fewer "
        "--frames, a larger --merge-ratio or a smaller --model"
    )


def _first(config: Any, *names: str, default: Any) -> Any:
    """The first of these attributes that a configuration has."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), default)
