"""Bytes that an answer takes, by arithmetic on sizes of a model and a prompt.

What it needs to know of a model the stock class tells, on the meta device. That is kept in the
cache, so that the next estimate needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dycoke_cli.answer.json_schema import Count, Doc, from_dict, to_dict
from dycoke_cli.compression.method import Method, attended_by_layer, layer_prunings, read_by_layer
from dycoke_cli.compression.pool import HELD, PART
from dycoke_cli.engine.context import frames_warning, positions_warning, ways_to_fit
from dycoke_cli.engine.memory.flops import (
    chunk_length,
    chunk_numbers,
    patch_bytes,
    prefill_flops,
    product_rate,
    token_bytes,
)
from dycoke_cli.engine.memory.sizes import Sizes
from dycoke_cli.errors import ModelError
from dycoke_cli.kernels.processor import processor_name
from dycoke_cli.models.catalog import ClipTokens, ModelRef
from dycoke_cli.models.devices import Target, weight_dtype
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.load_memory import WeightBytes
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import download_bytes
from dycoke_cli.resources import in_words, usable_cpus
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.output_file import read_own
from dycoke_cli.version import program_key
from dycoke_cli.video.clip import WINDOW, WINDOWS_HELD

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.prompts.stock_prompt import VideoPrompt


# What the arithmetic ignores: norms, masks, rotary tables, fragmentation.
MARGIN = 1.05
# What CUDA and its libraries take of a GPU before anything is computed.
CUDA_CONTEXT = 600_000_000
# Main memory of Python, torch and transformers on a CPU, once a model has answered.
LIBRARIES = 850_000_000
# What the package bitsandbytes adds to it.
BITSANDBYTES = 200_000_000
# Of a token in the vocabulary: a tokenizer of 152,000 takes 46 MB of main memory.
TOKENIZER_ENTRY = 300
# Of the last position's logits: in the dtype of the weights, in float32, and softened.
LOGITS_BYTES = 3 * 4


@dataclass(frozen=True)
class Work:
    """Sizes of a prompt."""

    visual: int  # visual tokens before anything is dropped
    held: float  # visual tokens in the KV cache, in the mean over layers
    text: int  # other tokens of the prompt
    chunk_len: int  # tokens of the prompt that go through a layer together
    spare: int  # entries that the KV cache has in store for generated tokens
    patches: int  # that go through the vision tower together
    copies: int = 0  # of the prompt's keys and values, kept for the next question

    @classmethod
    def of(
        cls,
        method: Method,
        sizes: Sizes,
        clip: ClipTokens,
        kept: int,
        text: int,
        *,
        spare: int,
        on_cpu: bool,
        own_attention: bool,
        whole: bool,
        flash: bool = False,
        copies: int = 0,
    ) -> Work:
        """Those of a clip that has so many visual tokens left.

        Args:
            own_attention: whether attention is computed in `kernels/`.
            whole: whether the model reads each prompt in one piece, whatever the method.
            flash: whether the device has FlashAttention.
            copies: that a session keeps of a prompt's keys and values, where it can
                (`chunked_prefill.PrefixCache`).
        """
        length, merging = method.read_at_once(clip.visual, kept) + text, method.in_tower()
        chunked = not layer_prunings(method, sizes.layers) and not method.reads_before and not whole
        of_frame = sizes.vision.patches_of_frame(clip.per_frame)
        patches = chunk_numbers(on_cpu, flash) // sizes.vision.patch
        patches = min(patches, clip.frames * of_frame)
        if merging is not None:
            # A window isn't split: its frames are compared with each other inside the tower.
            patches = max(patches, min(clip.frames, merging.window) * of_frame)
        chunk_len = chunk_length(length, own_attention, flash) if chunked else length
        held = fmean(read_by_layer(method, kept, sizes.layers))
        return cls(clip.visual, held, text, chunk_len, spare, patches, copies if chunked else 0)


@dataclass(frozen=True)
class ExpectedBytes:
    """Bytes that an answer takes."""

    weights: int  # of the model
    kv: int  # of keys and values, after prefill
    vision: int  # at the peak of encoding
    prefill: int  # at the peak of prefill, keys and values included, and copies of them

    @classmethod
    def of(cls, sizes: Sizes, work: Work, weights: int, dtype_bytes: int) -> ExpectedBytes:
        """What an answer takes of a model with so many bytes of weights, and in each number."""
        token, entry = sizes.hidden * dtype_bytes, sizes.kv * dtype_bytes
        features = (1 + sizes.vision.stacked) * work.visual * token
        read = work.held + work.text
        kv = round(entry * (read + work.spare))
        layer = work.chunk_len * token_bytes(sizes, dtype_bytes)
        # Embeddings of the whole prompt exist before anything is dropped from it.
        prompt = (work.visual + work.text) * token
        return cls(
            weights=weights,
            kv=kv,
            vision=features + work.patches * patch_bytes(sizes.vision, dtype_bytes),
            prefill=features
            + prompt
            + layer
            + kv
            + round(entry * read * work.copies)
            + LOGITS_BYTES * sizes.vocabulary,
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
    method: Method,
    text: int,
    pooled: int | None = None,
    copies: int = 0,
) -> ExpectedBytes:
    """What the answer to one question takes of a loaded model's device, at least.

    Args:
        pooled: visual tokens that are left of a video that was read in windows; None of another
            one.
        copies: see `Work.of`.
    """
    from dycoke_cli.engine.chunked_prefill import has_own_attention
    from dycoke_cli.engine.kv_cache import SPARE_ENTRIES
    from dycoke_cli.engine.prefill import prefills_whole
    from dycoke_cli.kernels.attention import has_flash_attention
    from dycoke_cli.models.devices import input_device

    model, clip = loaded.model, video.tokens
    sizes, device = Sizes.of(model.config), input_device(model)
    work = Work.of(
        method,
        sizes,
        clip,
        method.kept_tokens(clip.frames, clip.per_frame) if pooled is None else pooled,
        text,
        spare=SPARE_ENTRIES,
        on_cpu=device.type == "cpu",
        own_attention=has_own_attention(model.get_decoder()),
        whole=prefills_whole(model),
        flash=has_flash_attention(device, model.dtype),
        copies=copies,
    )
    if pooled is not None:
        work = replace(work, visual=pooled)
    return ExpectedBytes.of(sizes, work, loaded.weights_bytes, model.dtype.itemsize)


def memory_warning(
    loaded: LoadedModel,
    video: VideoPrompt,
    method: Method,
    text: int,
    pooled: int | None = None,
    copies: int = 0,
) -> str | None:
    """A sentence where a question will hardly fit on the device; None where it will, or who knows.

    Args: as of `expected_bytes`.
    """
    if loaded.free_bytes is None:
        return None
    from dycoke_cli.models.devices import input_device

    on_cuda = input_device(loaded.model).type == "cuda"
    context = CUDA_CONTEXT if on_cuda else 0
    total = expected_bytes(loaded, video, method, text, pooled, copies).total(context)
    if total <= loaded.free_bytes:
        return None
    return (
        f"this may not fit: it {in_words(total, loaded.free_bytes)} on {loaded.device}; use fewer "
        "--frames, a larger --merge-ratio or a smaller --model"
    )


_KEPT_WHOLE = (
    "frames are kept at the size of the video: how this model's processor resizes them isn't known"
)
TEMPLATE_TOKENS = 32
"""Tokens of a chat template, as assumed."""
BYTES_PER_TOKEN = 3
"""Bytes of a question (UTF-8) per token, as assumed: English has over four."""
TEXT_TOKENS = TEMPLATE_TOKENS + 32
"""Text tokens of a prompt whose question isn't known: one or two sentences.

What the prompt has for the frames, such as their times, comes on top: `ClipTokens.text`."""


def text_tokens(question: str | None) -> int:
    """Tokens of the chat template and a question, as assumed; None for a usual one."""
    if question is None:
        return TEXT_TOKENS
    return TEMPLATE_TOKENS + math.ceil(len(question.encode()) / BYTES_PER_TOKEN)


@dataclass(frozen=True)
class EstimatedContext:
    """What the language model reads and generates, beside what it was made for."""

    length: Annotated[int | None, Doc("Tokens; null where its configuration doesn't tell.")]
    needed: Annotated[Count, Doc("Tokens of the prompt that are read, and max_tokens.")]
    fits: bool


@dataclass(frozen=True)
class ReadInWindows:
    """A video that is read in windows, and the pool of what they keep."""

    count: int  # windows
    clip: ClipTokens  # the tokens of one window, with the text of the whole prompt
    kept: int  # visual tokens that all windows keep
    cap: int  # visual tokens that are read at most

    @property
    def read(self) -> int:
        """Visual tokens that the language model reads."""
        return min(self.kept, self.cap)


@dataclass
class CostModel:
    """The answer that is estimated: how much it takes by method and clip; see `estimate_cost`."""

    source: ModelRef
    stored: ModelInfo  # configuration of the model
    method: Method
    loading: LoadOptions  # with the dtype that loading will choose in place of "auto"
    max_tokens: int
    target: Target
    frame_bytes: int
    question: str | None = None
    questions: int = 1

    def __post_init__(self) -> None:
        self._family = self.stored.family
        # As `stock_prompt.fit_of`, which needs the processor.
        self._resizes = not self._family.stock_inputs
        dtype = weight_dtype(
            self.loading,
            self.stored.dtype or "auto",
            lambda: download_bytes(self.source, self.loading.revision),
            quantized=self.stored.values.get("quantization_config") is not None,
            cpu=self.target.device == "cpu",
            free=self.target.free,
        )
        self.loading = self.loading.with_dtype(dtype)

    @cached_property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return model_facts(self.source, self.stored, self.loading, self.target.device)

    @property
    def sizes(self) -> Sizes:
        """Sizes of the model."""
        return self.facts.sizes

    def text(self, clip: ClipTokens) -> int:
        """Tokens of text of the prompt."""
        return text_tokens(self.question) + clip.text

    def work(self, method: Method, clip: ClipTokens, kept: int) -> Work:
        """Sizes of a prompt that has so many visual tokens left."""
        on_cpu = self.target.device == "cpu"
        return Work.of(
            method,
            self.sizes,
            clip,
            kept,
            self.text(clip),
            spare=self.max_tokens,
            on_cpu=on_cpu,
            own_attention=on_cpu and self.loading.kernels == "fast",
            whole=self.facts.prefills_whole,
            # Which GPU it is isn't asked: nearly all that are large enough have it in 16 bits.
            flash=self.target.device == "cuda" and self.facts.dtype_bytes == 2,
            copies=int(self.questions > 1),  # all are asked by one method
        )

    def memory(self, method: Method, clip: ClipTokens, kept: int) -> ExpectedBytes:
        """What an answer takes that reads so many visual tokens."""
        facts, work = self.facts, self.work(method, clip, kept)
        return ExpectedBytes.of(facts.sizes, work, facts.weights.loaded, facts.dtype_bytes)

    def peak(self, method: Method, clip: ClipTokens, kept: int) -> int:
        """Bytes at the worst moment of loading or answering."""
        needed, weights = self.memory(method, clip, kept), self.facts.weights
        frames = pixels = process = 0
        if self.target.device == "cpu":  # there the frames are in the same memory
            patches = clip.frames * self.sizes.vision.patches_of_frame(clip.per_frame)
            pixels = patches * self.sizes.vision.patch
            frames = clip.frames * self.frame_bytes
            if self._resizes:  # at the model's size, but for the one that arrives
                frames = min(frames, pixels + self.frame_bytes)
            process = LIBRARIES + TOKENIZER_ENTRY * self.sizes.vocabulary
            process += BITSANDBYTES if self.loading.quantize == "int4" else 0
        # The processor has a copy of the frames, which is gone by the time that they are encoded.
        working = max(frames, needed.working + pixels)
        return max(weights.loading, weights.loaded + working) + frames + process

    def in_windows(
        self, method: Method, clip: ClipTokens, frames: int, video_tokens: int
    ) -> ReadInWindows:
        """How a video is read in windows.

        Args:
            video_tokens: visual tokens that are read at most, if the context has room for them.
        """
        length = self.sizes.context
        room = video_tokens if length is None else length - self.text(clip) - self.max_tokens
        count = math.ceil(frames / WINDOW)
        encoded = clip.frames_in_window(frames, WINDOW)
        last = clip.frames - (count - 1) * encoded
        kept = (count - 1) * method.kept_tokens(encoded, clip.per_frame)
        kept += method.kept_tokens(last, clip.per_frame)
        cap = max(1, min(video_tokens, room))
        return ReadInWindows(count, replace(clip, frames=encoded), kept, cap)

    def peak_in_windows(self, method: Method, video: ReadInWindows) -> int:
        """Bytes at the worst moment of loading or answering."""
        vision, window = self.sizes.vision, video.clip
        pool = min(video.kept, HELD * video.cap) * self.sizes.hidden * self.facts.dtype_bytes
        waiting = window.frames * vision.patches_of_frame(window.per_frame) * vision.patch
        on_cpu = self.target.device == "cpu"
        more = (WINDOWS_HELD - 1) * waiting if on_cpu and video.count > 1 else 0
        # As it is thinned: similarities of a part, and two copies of them while they are made.
        part = min(video.kept, HELD * video.cap, PART)
        thinning = 3 * 4 * part**2 if video.kept > video.cap else 0
        return self.peak(method, window, video.read) + (1 + vision.stacked) * pool + thinning + more

    def fits(self, peak: int) -> str | None:
        """Where so much fits, with a margin."""
        return self.target.fits(peak + self.reserve(peak))

    def reserve(self, peak: int) -> int:
        """Bytes that have to be free beside a peak: a margin, and what the device takes itself."""
        of_device = CUDA_CONTEXT if self.target.device == "cuda" else 0
        return with_margin(peak, of_device) - peak

    def context(self, clip: ClipTokens, kept: int) -> EstimatedContext:
        """What the language model reads, and whether it fits."""
        length = self.sizes.context
        read = self.method.read_at_once(clip.visual, kept)
        needed = read + self.text(clip) + self.max_tokens
        return EstimatedContext(length, needed, length is None or needed <= length)

    def warnings(self, clip: ClipTokens, kept: int, times_s: Sequence[float]) -> tuple[str, ...]:
        """Sentences about what is seen of the video, how it is kept, and positions."""
        length, beyond = self.context(clip, kept).length, None
        if self._family.counts_tokens and length is not None:
            renumbers = self.method.renumbers()
            last = (kept if renumbers else clip.visual) + self.text(clip) + self.max_tokens - 2
            beyond = positions_warning(last, length, self.source.name, renumbers)
        kept_whole = None if self._resizes or not self.frame_bytes else _KEPT_WHOLE
        sentences = (frames_warning(times_s), beyond, kept_whole)
        return tuple(sentence for sentence in sentences if sentence)

    def read(self, method: Method, kept: int) -> float:
        """Visual tokens that a decoding step reads, mean over layers."""
        return fmean(attended_by_layer(method, kept, self.sizes.layers))

    def seconds(self, method: Method, clip: ClipTokens, prefill: float, kept: int) -> float | None:
        """About how long the answers about a clip take; None where FLOPs or their rate are unknown.

        The clip is encoded once. A step of decode reads all weights, and the keys and values of
        what it attends to.

        Args:
            prefill: FLOPs of one answer.
            kept: visual tokens that are read.
        """
        vision = self.sizes.vision
        # How much of a tower that merges runs depends on how much of the video moves.
        if method.in_tower() is not None or not vision.layers:
            return None
        patches = [vision.patches_of_frame(clip.per_frame)] * vision.layers
        frame = prefill_flops(patches, hidden=vision.hidden, mlp=vision.mlp)
        device = self.target.device
        # bitsandbytes computes in the dtype of all that isn't quantized.
        own_int8 = self.loading.quantize == "int8" and device == "cpu"
        dtype = "int8" if own_int8 else self.facts.dtype
        many, one = product_rate(dtype, device, "prefill"), product_rate(dtype, device, "decode")
        if many is None or one is None:
            return None
        attended = self.text(clip) + self.read(method, kept)
        step = self.sizes.weights + self.sizes.kv * attended
        encoded = (clip.frames * frame + self.questions * prefill) / many
        return encoded + self.questions * self.max_tokens * step / one

    def holds(self, clip: ClipTokens, kept: int) -> bool:
        """Whether an answer that reads so many visual tokens fits, unless memory is unknown."""
        peak = self.peak(self.method, clip, kept)
        return self.context(clip, kept).fits and self.fits(peak) != "no"


def would_fit(
    answer: CostModel, clip: ClipTokens, frames: int, windows: ReadInWindows | None
) -> tuple[str, ...]:
    """Flags with each of which an answer would fit the device's memory and the model's context.

    Args:
        windows: of a video that is read in windows, whose frames hardly matter.
    """
    method = answer.method

    def fits(kept: int, shown: int) -> bool:
        return answer.holds(clip.of_frames(shown), kept)

    def fits_with(model: CostModel) -> bool:
        if windows is not None:
            in_context = model.context(windows.clip, windows.read).fits
            return in_context and model.fits(model.peak_in_windows(method, windows)) != "no"
        return model.holds(clip, method.kept_tokens(clip.frames, clip.per_frame))

    ways = [] if windows is not None else ways_to_fit(clip, frames, method, fits)
    smaller = (replace(answer, loading=loading) for loading in smaller_weights(answer))
    loading = next((model.loading for model in smaller if fits_with(model)), None)
    if loading is not None:
        quantize = loading.quantize
        ways.append(f"--quantize {quantize}" if quantize else f"--dtype {loading.dtype}")
    return tuple(ways)


def smaller_weights(answer: CostModel) -> list[LoadOptions]:
    """Options that make weights smaller, the largest of these first."""
    loading = answer.loading
    stored_quantized = answer.stored.values.get("quantization_config") is not None
    if loading.quantize is not None or stored_quantized or answer.target.device == "mps":
        return []
    half = [replace(loading, dtype="bfloat16")] if answer.facts.dtype_bytes == 4 else []
    names: tuple[Literal["int8", "int4"], ...] = ("int8", "int4")
    return [*half, *(replace(loading, quantize=name) for name in names)]


_PROGRAM = program_key()


@dataclass(frozen=True)
class ModelFacts:
    """A model as it would be loaded."""

    sizes: Sizes  # of the model
    dtype: str  # of its weights, where they aren't quantized
    dtype_bytes: int  # of one number
    weights: WeightBytes  # that they take
    prefills_whole: bool  # whether it reads each prompt in one piece


def model_facts(
    source: ModelRef, stored: ModelInfo, loading: LoadOptions, device: str
) -> ModelFacts:
    """What is known of a model so loaded: as it is kept, or made anew."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        text = read_own(_file(stored, loading, device))
        kept: ModelFacts = from_dict(ModelFacts, json.loads(text))
        return kept
    made = _made(source, stored, loading, device)
    with contextlib.suppress(OSError, RuntimeError):  # the next one makes it again
        write_whole(_file(stored, loading, device), json.dumps(to_dict(made)))
    return made


def _file(stored: ModelInfo, loading: LoadOptions, device: str) -> Path:
    """Where it is kept: by all that it depends on, this program and its libraries included."""
    about = [
        *_PROGRAM,
        dict(stored.values),
        asdict(replace(loading, revision=None, device="auto")),
        processor_name(),
        usable_cpus(),
        os.environ.get("OMP_NUM_THREADS"),
        device,
    ]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return kept("estimates") / f"{digest[:24]}.json"


def _made(source: ModelRef, stored: ModelInfo, loading: LoadOptions, device: str) -> ModelFacts:
    import torch

    from dycoke_cli.engine.prefill import prefills_whole
    from dycoke_cli.models.load_memory import weight_bytes
    from dycoke_cli.models.resolve import ResolvedModel, family_in

    config = _configuration(source, stored, loading.revision)
    info = ModelInfo.of(config, source.name, family_in(source, config))
    target = torch.device(device)
    # "auto" is left only of a checkpoint whose config.json doesn't name its dtype.
    cpu = target.type == "cpu"
    name = weight_dtype(loading, info.dtype or "float32", lambda: None, cpu=cpu, free=None)
    dtype: torch.dtype = getattr(torch, name)
    resolved = ResolvedModel(
        source.name, source, config, loading.revision, info, target, dtype, loading
    )
    model = resolved.build()
    weights = weight_bytes(resolved, model)
    if weights is None:
        raise ModelError(f"nothing tells how large the weights of {source.name} are")
    return ModelFacts(Sizes.of(config), name, dtype.itemsize, weights, prefills_whole(model))


def _configuration(source: ModelRef, stored: ModelInfo, revision: str | None) -> Any:
    """The same as `transformers` has it, with what the file leaves to its class."""
    if stored.folder is not None:
        from dycoke_cli.models.resolve import read_config

        return read_config(source, revision)[0]
    from transformers import AutoConfig

    return AutoConfig.for_model(**stored.values)
