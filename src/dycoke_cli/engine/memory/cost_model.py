"""What an answer of a model takes, by method, clip and weights; no weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.chunks import chunk_length
from dycoke_cli.engine.context import frames_warning, positions_warning, ways_to_fit
from dycoke_cli.engine.memory.cost import (
    EstimatedContext,
    EstimatedSeconds,
)
from dycoke_cli.engine.memory.estimate import (
    CUDA_CONTEXT,
    TOKENIZER_ENTRY,
    Estimate,
    Work,
    estimate,
    patch_numbers,
    patches_of_frame,
    patches_together,
    sizes_of,
    with_margin,
)
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.frame_tokens import ClipTokens
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.memory import HEADROOM, WeightBytes, weight_bytes, without_weights
from dycoke_cli.models.on_disk import StoredConfig
from dycoke_cli.models.resolve import ModelRef, ResolvedModel, family_in, read_config, weights_dtype
from dycoke_cli.models.target import Target

if TYPE_CHECKING:
    from dycoke_cli.engine.memory.expected_time import ExpectedTime

TEXT_TOKENS = 64
"""Of a prompt beside the video: a chat template and a question of one or two sentences."""


class CostModel:
    """The answer that is estimated: how much it takes by method, clip and weights.

    Args: as of `estimate_cost`; `stored` is the configuration of the model.
    """

    def __init__(
        self,
        source: ModelRef,
        stored: StoredConfig,
        method: Method,
        loading: LoadOptions,
        max_new_tokens: int,
        target: Target,
        frame_bytes: int,
    ) -> None:
        self._source, self._method, self._loading = source, method, loading
        self._new, self._target, self._frame_bytes = max_new_tokens, target, frame_bytes
        self._config = _configuration(source, stored, loading.revision)
        self._family = family_in(source, self._config)
        self.text: Any = self._config.get_text_config()
        self._vision = getattr(self._config, "vision_config", None)
        self.layers: int = self.text.num_hidden_layers
        # What differs by quantization alone is asked for again and again.
        self.weights = cache(self._weights)

    def resolved(self, loading: LoadOptions) -> ResolvedModel:
        """The model, as it would be loaded on the target."""
        import torch

        device = torch.device(self._target.device)
        dtype = weights_dtype(loading.dtype, self._config, device)
        return ResolvedModel(
            self._source.name,
            self._source,
            self._config,
            loading.revision,
            self._family,
            device,
            dtype,
            loading,
        )

    @property
    def dtype(self) -> str:
        """Of the weights, where they aren't quantized."""
        return str(self.resolved(self._loading).dtype).removeprefix("torch.")

    def _weights(self, loading: LoadOptions) -> WeightBytes:
        """Bytes of the weights, so loaded.

        Raises:
            ModelError: of weights that are stored quantized, nothing tells their size.
        """
        found = weight_bytes(self.resolved(loading))
        if found is None:
            raise ModelError(f"nothing tells how large the weights of {self._source.name} are")
        return found

    def memory(self, loading: LoadOptions, method: Method, clip: ClipTokens, kept: int) -> Estimate:
        """What an answer takes that reads so many visual tokens."""
        on_cpu = self._target.device == "cpu"
        length = kept + TEXT_TOKENS
        whole = method.inside() is not None
        dtype = self.resolved(loading).dtype
        work = Work(
            visual=clip.visual,
            kept=kept,
            text=TEXT_TOKENS,
            chunk_len=length
            if whole
            else chunk_length(length, on_cpu and loading.kernels == "fast"),
            spare=self._new,
            patches=patches_together(
                method, self._vision, clip.frames, clip.per_frame, on_cpu=on_cpu
            ),
        )
        held = self.weights(loading).held
        return estimate(sizes_of(self.text, self._vision, held, dtype.itemsize), work)

    def peak(self, loading: LoadOptions, method: Method, clip: ClipTokens, kept: int) -> int:
        """Bytes at the worst moment of loading or answering."""
        needed, weights = self.memory(loading, method, clip, kept), self.weights(loading)
        decoded = pixels = tokenizer = 0
        if self._target.device == "cpu":  # there the frames are in the same memory
            patches = clip.frames * patches_of_frame(self._vision, clip.per_frame)
            decoded = clip.frames * self._frame_bytes
            pixels = patches * patch_numbers(self._vision)
            tokenizer = TOKENIZER_ENTRY * self.text.vocab_size
        # The processor has a copy of the frames, which is gone by the time that they are encoded.
        working = max(decoded, needed.working + pixels)
        return max(weights.loading, weights.held + working) + decoded + tokenizer

    def fits(self, peak: int) -> str | None:
        """Where so much fits, with a margin."""
        own = CUDA_CONTEXT if self._target.device == "cuda" else 0
        return self._target.fits(with_margin(peak, own))

    def context(self, kept: int) -> EstimatedContext:
        """What the language model reads, and whether it fits."""
        length = getattr(self.text, "max_position_embeddings", None)
        needed = kept + TEXT_TOKENS + self._new
        return EstimatedContext(length, needed, length is None or needed <= length)

    def warnings(self, clip: ClipTokens, kept: int, times_s: Sequence[float]) -> tuple[str, ...]:
        """Sentences about what is seen of the video, and about positions that no training had."""
        length, beyond = self.context(kept).length, None
        if self._family.counts_tokens and length is not None:
            renumbers = self._method.renumbers()
            last = (kept if renumbers else clip.visual) + TEXT_TOKENS + self._new - 2
            beyond = positions_warning(last, length, self._source.name, renumbers)
        return tuple(sentence for sentence in (frames_warning(times_s), beyond) if sentence)

    def seconds(
        self, method: Method, clip: ClipTokens, tokens: float, attended: float
    ) -> EstimatedSeconds | None:
        """How long an answer takes whose layers read so many visual tokens, mean over layers."""
        if self._target.device != "cpu" or self._loading.kernels != "fast":
            return None
        kernels = self._kernels
        layers = getattr(self._vision, "num_hidden_layers", getattr(self._vision, "depth", 0))
        patches = patches_of_frame(self._vision, clip.per_frame)
        # How much of a tower is skipped depends on the video.
        early = method.before_vision() or method.merge_frames()
        found = EstimatedSeconds(
            vision=None if early else kernels.vision(clip.frames, patches, layers),
            prefill=kernels.prefill(tokens + TEXT_TOKENS),
            decode=kernels.decode(self._new - 1, attended + TEXT_TOKENS + self._new / 2),
        )
        return None if found == EstimatedSeconds(None, None, None) else found

    @cached_property
    def _kernels(self) -> ExpectedTime:
        from dycoke_cli.engine.memory.expected_time import ExpectedTime

        model = without_weights(self.resolved(self._loading))
        return ExpectedTime(model, self._loading.quantize is not None)

    def ways(self, clip: ClipTokens, frames: int) -> tuple[str, ...]:
        """The flags with each of which an answer would fit both memory and context."""

        def of_tokens(kept: int, shown: int) -> bool:
            shorter = ClipTokens(shown, clip.per_frame)
            return self._both(self._loading, shorter, kept)

        ways = ways_to_fit(clip, frames, self._method, of_tokens)
        kept = self._method.kept_tokens(clip.frames, clip.per_frame)
        if not self.context(kept).fits:
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
        return self.fits(peak) in ("gpu", "ram") and self.context(kept).fits

    def _smaller_weights(self) -> list[tuple[str, LoadOptions]]:
        """Flags that make weights smaller, the least first, with all options."""
        given = self._loading
        stored = getattr(self._config, "quantization_config", None) is not None
        if given.quantize is not None or stored or self._target.device == "mps":
            return []
        found = [(f"--quantize {name}", replace(given, quantize=name)) for name in ("int8", "int4")]
        if self.resolved(given).dtype.itemsize == 4:
            found.insert(0, ("--dtype bfloat16", replace(given, dtype="bfloat16")))
        return found


def _configuration(source: ModelRef, stored: StoredConfig, revision: str | None) -> Any:
    """The same as `transformers` has it, with what the file leaves to its class."""
    if stored.folder is not None:
        return read_config(source, revision)[0]
    from transformers import AutoConfig

    return AutoConfig.for_model(**stored.values)
