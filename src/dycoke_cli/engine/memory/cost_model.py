"""What an answer of a model takes, by method, clip and weights; no weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

from dycoke_cli.answer.json_schema import Amount, Count, Doc
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.chunks import chunk_length
from dycoke_cli.engine.context import frames_warning, positions_warning, ways_to_fit
from dycoke_cli.engine.memory.expected_bytes import (
    CUDA_CONTEXT,
    LIBRARIES,
    TOKENIZER_ENTRY,
    ExpectedBytes,
    Work,
    patches_together,
    with_margin,
)
from dycoke_cli.engine.memory.model_facts import ModelFacts, model_facts
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.families import UNLISTED
from dycoke_cli.models.files.on_disk import StoredConfig, dtype_here
from dycoke_cli.models.free_memory import HEADROOM, Target
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.models.resolve import ModelRef

NO_VISION = "how long the vision tower takes depends on the video, or its sizes aren't known"
_KEPT_WHOLE = (
    "frames are kept at the size of the video: how this model's processor resizes them isn't known"
)
TEXT_TOKENS = 64
"""Of a prompt beside the video: a chat template and a question of one or two sentences.

What the prompt has for the frames, such as their times, comes on top: `ClipTokens.text`."""


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
    """The answer that is estimated: how much it takes by method, clip and weights.

    Args: as of `estimate_cost`; `stored` is the configuration of the model.

    Attributes:
        loading: with the dtype that loading will choose in place of "auto".
        sizes: of the model.
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
    ) -> None:
        self._source, self._method = source, method
        self._new, self._target, self._frame_bytes = max_new_tokens, target, frame_bytes
        self._family = stored.family or UNLISTED
        # As `frame_fit.fit_of`, which needs the processor.
        self._resizes = not self._family.stock_inputs
        self._stored_quantized = stored.values.get("quantization_config") is not None
        dtype = dtype_here(source, stored, loading, target)
        self._emulated = dtype.emulated
        self.loading = loading = loading.with_dtype(dtype.name)

        @cache
        def facts(loading: LoadOptions) -> ModelFacts:
            return model_facts(source, stored, loading, target.device)

        # `ways` asks for the same model with other quantizations, each several times.
        self._facts = facts
        self.sizes = facts(loading).sizes

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model."""
        return self._facts(self.loading)

    @staticmethod
    def text(clip: ClipTokens) -> int:
        """Tokens of text of the prompt."""
        return TEXT_TOKENS + clip.text

    def _work(self, loading: LoadOptions, method: BoundMethod, clip: ClipTokens, kept: int) -> Work:
        on_cpu = self._target.device == "cpu"
        text = self.text(clip)
        length = kept + text
        whole = method.inside is not None
        return Work(
            visual=clip.visual,
            kept=kept,
            text=text,
            chunk_len=length
            if whole
            else chunk_length(length, on_cpu and loading.kernels == "fast"),
            spare=self._new,
            patches=patches_together(
                method, self.sizes.vision, clip.frames, clip.per_frame, on_cpu=on_cpu
            ),
        )

    def memory(
        self, loading: LoadOptions, method: BoundMethod, clip: ClipTokens, kept: int
    ) -> ExpectedBytes:
        """What an answer takes that reads so many visual tokens."""
        facts, work = self._facts(loading), self._work(loading, method, clip, kept)
        return ExpectedBytes.of(self.sizes, work, facts.weights.loaded, facts.dtype_bytes)

    def peak(self, loading: LoadOptions, method: BoundMethod, clip: ClipTokens, kept: int) -> int:
        """Bytes at the worst moment of loading or answering."""
        needed, weights = self.memory(loading, method, clip, kept), self._facts(loading).weights
        frames = pixels = process = 0
        if self._target.device == "cpu":  # there the frames are in the same memory
            patches = clip.frames * self.sizes.vision.patches_of_frame(clip.per_frame)
            pixels = patches * self.sizes.vision.patch
            frames = clip.frames * self._frame_bytes
            if self._resizes:  # at the model's size, but for the one that arrives
                frames = min(frames, pixels + self._frame_bytes)
            process = LIBRARIES + TOKENIZER_ENTRY * self.sizes.vocabulary
        # The processor has a copy of the frames, which is gone by the time that they are encoded.
        working = max(frames, needed.working + pixels)
        return max(weights.loading, weights.loaded + working) + frames + process

    def fits(self, peak: int) -> str | None:
        """Where so much fits, with a margin."""
        context = CUDA_CONTEXT if self._target.device == "cuda" else 0
        return self._target.fits(with_margin(peak, context))

    def context(self, clip: ClipTokens, kept: int) -> EstimatedContext:
        """What the language model reads, and whether it fits."""
        length = self.sizes.context
        needed = kept + self.text(clip) + self._new
        return EstimatedContext(length, needed, length is None or needed <= length)

    def warnings(self, clip: ClipTokens, kept: int, times_s: Sequence[float]) -> tuple[str, ...]:
        """Sentences about what is seen of the video, how it is kept, and untrained positions."""
        length, beyond = self.context(clip, kept).length, None
        if self._family.counts_tokens and length is not None:
            renumbers = self._method.renumbers
            last = (kept if renumbers else clip.visual) + self.text(clip) + self._new - 2
            beyond = positions_warning(last, length, self._source.name, renumbers)
        emulated = self._emulated and self._emulated.warning()
        kept_whole = None if self._resizes or not self._frame_bytes else _KEPT_WHOLE
        sentences = (frames_warning(times_s), beyond, emulated, kept_whole)
        return tuple(sentence for sentence in sentences if sentence)

    def seconds(
        self, method: BoundMethod, clip: ClipTokens, kept: int, tokens: float, attended: float
    ) -> EstimatedSeconds | None:
        """How long an answer takes whose layers read so many visual tokens, mean over layers."""
        rates = self.facts.rates
        if rates is None:
            return None
        work = self._work(self.loading, method, clip, kept)
        patches = self.sizes.vision.patches_of_frame(clip.per_frame)
        # How much of the tower runs depends on the video there: on how much of it moves.
        early = method.in_tower
        return EstimatedSeconds(
            vision=None if early else rates.vision(clip.frames, patches, work.patches),
            prefill=rates.prefill(tokens + work.text, work.chunk_len),
            decode=rates.decode(self._new - 1, attended + work.text + self._new / 2),
        )

    def no_seconds(self, seconds: EstimatedSeconds | None) -> str | None:
        """A sentence that says why there are none, or none of the vision tower."""
        if seconds is None:
            return self.facts.untimed
        return NO_VISION if seconds.vision is None else None

    def ways(self, clip: ClipTokens, frames: int) -> tuple[str, ...]:
        """The flags with each of which an answer would fit both memory and context."""

        def of_tokens(kept: int, shown: int) -> bool:
            return self._both(self.loading, clip.of_frames(shown), kept)

        ways = ways_to_fit(clip, frames, self._method, of_tokens)
        kept = self._method.kept_tokens(clip.frames, clip.per_frame)
        if not self.context(clip, kept).fits:
            return tuple(ways)
        ways += [flag for flag, other in self._smaller_weights() if self._both(other, clip, kept)][
            :1
        ]
        entry = self._source.entry
        smaller = [
            other
            for other in CATALOG.values()
            if entry is not None
            and other.family == entry.family
            and (other.parameters or 0) < (entry.parameters or 0)
            and other.repo is not None
            and self._target.fits(int(HEADROOM * 2 * (other.parameters or 0))) in ("gpu", "ram")
        ]
        largest = max(smaller, key=lambda other: other.parameters or 0, default=None)
        return (*ways, *([f"--model {largest.name}"] if largest else ()))

    def _both(self, loading: LoadOptions, clip: ClipTokens, kept: int) -> bool:
        peak = self.peak(loading, self._method, clip, kept)
        return self.fits(peak) in ("gpu", "ram") and self.context(clip, kept).fits

    def _smaller_weights(self) -> list[tuple[str, LoadOptions]]:
        """Flags that make weights smaller, the least first, with all options."""
        loading = self.loading
        if loading.quantize is not None or self._stored_quantized or self._target.device == "mps":
            return []
        smaller = [
            (f"--quantize {name}", replace(loading, quantize=name)) for name in ("int8", "int4")
        ]
        if self.facts.dtype_bytes == 4:
            smaller.insert(0, ("--dtype bfloat16", replace(loading, dtype="bfloat16")))
        return smaller
