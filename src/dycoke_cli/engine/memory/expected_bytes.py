"""Bytes that an answer will take, by arithmetic, and whether the device has them.

Arithmetic on a few sizes of a model and of a prompt. Importing this doesn't import torch. What it
ignores (norms, masks, rotary tables, fragmentation) is what `MARGIN` is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.engine.chunks import chunk_length, chunk_numbers
from dycoke_cli.resources import in_words
from dycoke_cli.stock.sizes import Sizes

if TYPE_CHECKING:
    from dycoke_cli.compression.bound import BoundMethod
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.prompts.frame_tokens import ClipTokens
    from dycoke_cli.models.prompts.stock_prompt import VideoPrompt

MARGIN = 1.05
# What CUDA and its libraries take of a GPU before anything is computed.
CUDA_CONTEXT = 600_000_000
# Main memory of Python, torch and transformers on a CPU, once a model has answered.
LIBRARIES = 850_000_000
# What the package bitsandbytes adds to it.
BITSANDBYTES = 200_000_000
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
class Work:
    """Sizes of a prompt."""

    visual: int  # visual tokens before anything is dropped
    kept: int  # visual tokens that the language model reads
    text: int  # other tokens of the prompt
    chunk_len: int  # tokens of the prompt that go through a layer together
    spare: int  # entries that the KV cache has in store for generated tokens
    patches: int  # that go through the vision tower together

    @classmethod
    def of(
        cls,
        method: BoundMethod,
        sizes: Sizes,
        clip: ClipTokens,
        kept: int,
        text: int,
        *,
        spare: int,
        on_cpu: bool,
        own_attention: bool,
        whole: bool,
    ) -> Work:
        """Those of a clip that has so many visual tokens left.

        Args:
            own_attention: whether attention is computed in `kernels/`.
            whole: whether the model reads each prompt in one piece, whatever the method.
        """
        length, merging = kept + text, method.in_tower
        chunked = method.inside is None and not whole
        patches = chunk_numbers(on_cpu) // sizes.vision.patch
        if merging is not None:
            # A window isn't split: its frames are compared with each other inside the tower.
            window = min(clip.frames, merging.window)
            patches = max(patches, window * sizes.vision.patches_of_frame(clip.per_frame))
        chunk_len = chunk_length(length, own_attention) if chunked else length
        return cls(clip.visual, kept, text, chunk_len, spare, patches)


@dataclass(frozen=True)
class ExpectedBytes:
    """Bytes that an answer takes."""

    weights: int  # of the model
    kv: int  # of keys and values, after prefill
    vision: int  # at the peak of encoding
    prefill: int  # at the peak of prefill, keys and values included

    @classmethod
    def of(cls, sizes: Sizes, work: Work, weights: int, dtype_bytes: int) -> ExpectedBytes:
        """What an answer takes.

        Args:
            weights: bytes of the model's.
            dtype_bytes: bytes of one number of its dtype.
        """
        read, token, vision = work.kept + work.text, sizes.hidden * dtype_bytes, sizes.vision
        features = (1 + vision.stacked) * work.visual * token
        attention = VISION_ATTENTION_STATES * vision.hidden
        mlp = VISION_HIDDEN_STATES * vision.hidden + VISION_MLP_STATES * vision.mlp
        # Attention and MLP of a layer run one after the other, so the larger one is the peak.
        patch = vision.patch + max(attention, mlp)
        kv = sizes.kv * dtype_bytes * (read + work.spare)
        layer = (
            work.chunk_len * (MLP_STATES * sizes.mlp + HIDDEN_STATES * sizes.hidden) * dtype_bytes
        )
        # Embeddings of the whole prompt exist before anything is dropped from it.
        prompt = (work.visual + work.text) * token
        return cls(
            weights=weights,
            kv=kv,
            vision=features + work.patches * patch * dtype_bytes,
            prefill=features + prompt + layer + kv + LOGITS_BYTES * sizes.vocabulary,
        )

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


def expected_bytes(
    loaded: LoadedModel,
    video: VideoPrompt,
    method: BoundMethod,
    text: int,
    pooled: int | None = None,
) -> ExpectedBytes:
    """What the answer to one question takes of a loaded model's device.

    Args:
        pooled: visual tokens that are left of a video that was read in windows; None of another
            one.
    """
    from dycoke_cli.engine.chunked_prefill import has_own_attention
    from dycoke_cli.engine.kv_cache.layer import SPARE_ENTRIES
    from dycoke_cli.engine.own_masks import prefills_whole
    from dycoke_cli.models.devices import input_device

    model, clip = loaded.model, video.tokens
    sizes = Sizes.of(model.config)
    work = Work.of(
        method,
        sizes,
        clip,
        method.kept_tokens(clip.frames, clip.per_frame) if pooled is None else pooled,
        text,
        spare=SPARE_ENTRIES,
        on_cpu=input_device(model).type == "cpu",
        own_attention=has_own_attention(model.get_decoder()),
        whole=prefills_whole(model),
    )
    if pooled is not None:
        work = replace(work, visual=pooled)
    return ExpectedBytes.of(sizes, work, loaded.weights_bytes, model.dtype.itemsize)


def memory_warning(
    loaded: LoadedModel,
    video: VideoPrompt,
    method: BoundMethod,
    text: int,
    pooled: int | None = None,
) -> str | None:
    """A sentence where a question will hardly fit on the device; None where it will, or who knows.

    Args: as of `expected_bytes`.
    """
    if loaded.free_bytes is None:
        return None
    from dycoke_cli.models.devices import input_device

    on_cuda = input_device(loaded.model).type == "cuda"
    context = CUDA_CONTEXT if on_cuda else 0
    total = expected_bytes(loaded, video, method, text, pooled).total(context)
    if total <= loaded.free_bytes:
        return None
    return (
        f"this may not fit: it {in_words(total, loaded.free_bytes)} on {loaded.device}; use fewer "
        "--frames, a larger --merge-ratio or a smaller --model"
    )
