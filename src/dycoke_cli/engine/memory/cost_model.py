"""What an answer of a model takes, by method, clip and weights; no weights are loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from dycoke_cli.answer.json_schema import Amount, Count, Doc
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.chunks import chunk_length
from dycoke_cli.engine.context import frames_warning, positions_warning
from dycoke_cli.engine.memory.expected_bytes import (
    BITSANDBYTES,
    CUDA_CONTEXT,
    LIBRARIES,
    TOKENIZER_ENTRY,
    ExpectedBytes,
    Work,
    patches_together,
    with_margin,
)
from dycoke_cli.engine.memory.fit import StageCosts
from dycoke_cli.engine.memory.model_facts import ModelFacts, model_facts, stage_times_file
from dycoke_cli.engine.memory.stage_times import StageTimes, read_stage_times
from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.families import UNLISTED
from dycoke_cli.models.files.on_disk import StoredConfig, dtype_here
from dycoke_cli.models.free_memory import Target
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.stock.sizes import Sizes

NO_VISION = "how long the vision tower takes depends on the video, or its sizes aren't known"
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
    needed: Annotated[Count, Doc("Tokens of the prompt that are read, and max_new_tokens.")]
    fits: bool


@dataclass(frozen=True)
class EstimatedSeconds:
    """Time on this machine, from measured kernels."""

    vision: Annotated[float | None, Doc("Null where it isn't known.", minimum=0)]
    prefill: Amount
    decode: Annotated[Amount, Doc("Of max_new_tokens.")]

    @property
    def answering(self) -> float:
        """Of prefill and decode."""
        return self.prefill + self.decode

    @property
    def total(self) -> float | None:
        """Of all stages, where all are known."""
        return None if self.vision is None else self.vision + self.answering


class CostModel:
    """The answer that is estimated: how much it takes by method and clip.

    Args: as of `estimate_cost`; `stored` is the configuration of the model.

    Attributes: the arguments, but for `frame_bytes`.
        loading: with the dtype that loading will choose in place of "auto".
    """

    def __init__(
        self,
        source: ModelRef,
        stored: StoredConfig,
        method: BoundMethod,
        loading: LoadOptions,
        max_new_tokens: int,
        target: Target,
        frame_bytes: int,
        question: str | None = None,
    ) -> None:
        self.source, self.stored, self.method = source, stored, method
        self.max_new_tokens, self.target, self._frame_bytes = max_new_tokens, target, frame_bytes
        self._question = question
        self._family = stored.family or UNLISTED
        # As `stock_prompt.fit_of`, which needs the processor.
        self._resizes = not self._family.stock_inputs
        dtype = dtype_here(source, stored, loading, target)
        self._emulated = dtype.emulated
        self.loading = loading.with_dtype(dtype.name)
        self._like: CostModel | None = None

    def loaded_as(self, loading: LoadOptions) -> CostModel:
        """The same answer of the same model, loaded otherwise.

        Until its stages are measured, its seconds are corrected by those of this one.
        """
        given = (self.source, self.stored, self.method, loading)
        more = (self.max_new_tokens, self.target, self._frame_bytes, self._question)
        other = CostModel(*given, *more)
        other._like = self
        return other

    @cached_property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return model_facts(self.source, self.stored, self.loading, self.target.device)

    @property
    def sizes(self) -> Sizes:
        """Sizes of the model."""
        return self.facts.sizes

    @property
    def stage_times_file(self) -> Path:
        """Where the times of its stages are kept, once they are measured on this machine."""
        return stage_times_file(self.stored, self.loading)

    @cached_property
    def stage_times(self) -> StageTimes | None:
        """Measured times of its stages; None before `calibrate`, and on other devices."""
        on_cpu = self.target.device == "cpu"
        return read_stage_times(self.stage_times_file) if on_cpu else None

    @property
    def _corrections(self) -> tuple[float, float, float]:
        """Measured over predicted seconds of vision, prefill and decode."""
        if self.stage_times is not None and self.facts.rates is not None:
            return self.stage_times.corrections(self.facts.rates)
        return (1.0, 1.0, 1.0) if self._like is None else self._like._corrections

    def text(self, clip: ClipTokens) -> int:
        """Tokens of text of the prompt."""
        return text_tokens(self._question) + clip.text

    def work(self, method: BoundMethod, clip: ClipTokens, kept: int) -> Work:
        """Sizes of a prompt that has so many visual tokens left."""
        on_cpu = self.target.device == "cpu"
        text = self.text(clip)
        length = kept + text
        whole = method.inside is not None
        return Work(
            visual=clip.visual,
            kept=kept,
            text=text,
            chunk_len=length
            if whole
            else chunk_length(length, on_cpu and self.loading.kernels == "fast"),
            spare=self.max_new_tokens,
            patches=patches_together(
                method, self.sizes.vision, clip.frames, clip.per_frame, on_cpu=on_cpu
            ),
        )

    def memory(self, method: BoundMethod, clip: ClipTokens, kept: int) -> ExpectedBytes:
        """What an answer takes that reads so many visual tokens."""
        facts, work = self.facts, self.work(method, clip, kept)
        return ExpectedBytes.of(facts.sizes, work, facts.weights.loaded, facts.dtype_bytes)

    def peak(self, method: BoundMethod, clip: ClipTokens, kept: int) -> int:
        """Bytes at the worst moment of loading or answering."""
        needed, weights = self.memory(method, clip, kept), self.facts.weights
        frames = pixels = process = 0
        if self.target.device == "cpu":  # there the frames are in the same memory
            patches = clip.frames * self.sizes.vision.patches_of_frame(clip.per_frame)
            pixels = patches * self.sizes.vision.patch
            frames = clip.frames * self._frame_bytes
            if self._resizes:  # at the model's size, but for the one that arrives
                frames = min(frames, pixels + self._frame_bytes)
            process = LIBRARIES + TOKENIZER_ENTRY * self.sizes.vocabulary
            process += BITSANDBYTES if self.loading.quantize == "int4" else 0
        # The processor has a copy of the frames, which is gone by the time that they are encoded.
        working = max(frames, needed.working + pixels)
        return max(weights.loading, weights.loaded + working) + frames + process

    def fits(self, peak: int) -> str | None:
        """Where so much fits, with a margin."""
        return self.target.fits(peak + self.reserve(peak))

    def reserve(self, peak: int) -> int:
        """Bytes that have to be free beside a peak: a margin, and what the device takes itself."""
        return with_margin(peak, self._of_device) - peak

    @property
    def _of_device(self) -> int:
        return CUDA_CONTEXT if self.target.device == "cuda" else 0

    def context(self, clip: ClipTokens, kept: int) -> EstimatedContext:
        """What the language model reads, and whether it fits."""
        length = self.sizes.context
        needed = kept + self.text(clip) + self.max_new_tokens
        return EstimatedContext(length, needed, length is None or needed <= length)

    def warnings(self, clip: ClipTokens, kept: int, times_s: Sequence[float]) -> tuple[str, ...]:
        """Sentences about what is seen of the video, how it is kept, and untrained positions."""
        length, beyond = self.context(clip, kept).length, None
        if self._family.counts_tokens and length is not None:
            renumbers = self.method.renumbers
            last = (kept if renumbers else clip.visual) + self.text(clip) + self.max_new_tokens - 2
            beyond = positions_warning(last, length, self.source.name, renumbers)
        emulated = self._emulated and self._emulated.warning()
        kept_whole = None if self._resizes or not self._frame_bytes else _KEPT_WHOLE
        sentences = (frames_warning(times_s), beyond, emulated, kept_whole)
        return tuple(sentence for sentence in sentences if sentence)

    def read(self, method: BoundMethod, kept: int) -> float:
        """Visual tokens that a decoding step reads, mean over layers."""
        pruning, layers = method.inside or method.decode_pruning, self.sizes.layers
        # Layers in front of the selection attend to all that is kept, those behind to its tokens.
        below = pruning.layer if pruning else layers
        return (below * kept + (layers - below) * method.attended_tokens(kept)) / layers

    def seconds(self, method: BoundMethod, clip: ClipTokens, kept: int) -> EstimatedSeconds | None:
        """How long an answer takes that reads so many visual tokens; None without timed kernels.

        Corrected by the times of the model's stages, where those were measured on this machine.
        """
        rates = self.facts.rates
        if rates is None:
            return None
        read, work = self.read(method, kept), self.work(method, clip, kept)
        patches = self.sizes.vision.patches_of_frame(clip.per_frame)
        # How much of the tower runs depends on the video there: on how much of it moves.
        early = method.in_tower
        vision = None if early else rates.vision(clip.frames, patches, work.patches)
        prefill = rates.prefill((read if method.inside else kept) + work.text, work.chunk_len)
        decode = rates.decode(self.max_new_tokens - 1, read + work.text + self.max_new_tokens / 2)
        of_vision, of_prefill, of_decode = self._corrections
        times = self.stage_times
        selecting = 0.0
        if times is not None and kept < clip.visual:
            selecting = times.selection_s * clip.visual / times.visual
        return EstimatedSeconds(
            vision=None if vision is None else vision * of_vision,
            prefill=prefill * of_prefill + selecting,
            decode=decode * of_decode,
        )

    def costs(self, method: BoundMethod, clip: ClipTokens) -> StageCosts | None:
        """What an answer takes, for `choose`; None if the method doesn't work with these frames."""
        try:
            kept = method.kept_tokens(clip.frames, clip.per_frame)
        except UsageError:
            return None
        return self.stage_costs(method, clip, kept)

    def stage_costs(self, method: BoundMethod, clip: ClipTokens, kept: int) -> StageCosts:
        """The same of an answer that reads so many visual tokens."""
        peak, seconds = self.peak(method, clip, kept), self.seconds(method, clip, kept)
        return StageCosts(
            bytes=peak + self.reserve(peak),
            vision_s=None if seconds is None else seconds.vision,
            prefill_s=None if seconds is None else seconds.prefill,
            decode_s=None if seconds is None else seconds.decode,
            in_context=self.context(clip, kept).fits,
        )

    def no_seconds(self, seconds: EstimatedSeconds | None) -> str | None:
        """A sentence that says why there are none, or none of the vision tower."""
        if seconds is None:
            return self.facts.untimed
        return NO_VISION if seconds.vision is None else None
