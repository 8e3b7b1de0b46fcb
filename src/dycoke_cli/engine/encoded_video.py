"""A video with a model: encoded and prefilled once, whatever is asked about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from dycoke_cli.answer.answer import ReportedWindows
from dycoke_cli.answer.json_schema import ABSENT, Absent
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.chunked_prefill import MOST_STORED, PrefixCache
from dycoke_cli.engine.context import answer_room, check_context, check_several
from dycoke_cli.engine.explaining import faults_of
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.engine.generation_options import WHAT_FITS, GenerationOptions
from dycoke_cli.engine.memory.cost_model import expected_bytes, memory_warning
from dycoke_cli.engine.vision import Batch, Encoded, Prompt, VisualCache, encode_cached, encoded_for
from dycoke_cli.errors import UsageError, check_kind
from dycoke_cli.models.devices import free_memory
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.chat import Turns
from dycoke_cli.models.prompts.stock_processor import ClipLike
from dycoke_cli.models.prompts.stock_prompt import (
    StockPrompt,
    VideoPrompt,
    extra_inputs,
    input_ids,
    show,
)

if TYPE_CHECKING:
    from dycoke_cli.engine.windows import WindowedVideo

Progress = Callable[[str, int, int], None]

# Fraction of the free memory for a batch; the rest covers what the estimate doesn't include.
_SHARE = 0.5


class EncodedVideo:
    """Questions about one video, which is encoded and prefilled once, at the first question.

    Or about several videos together, in a model whose prompt shows several: each is encoded alone,
    and the method chooses from each alone before the language model.

    Attributes:
        video: what the stock processor made of it; of the first of several.
        prefix: what was prefilled of it; None where nothing is reused.

    Args:
        cache: of encoded videos on disk, or None.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        clip: ClipLike,
        on_progress: Progress | None = None,
        *,
        others: Sequence[ClipLike] = (),
        seconds_load: float | None = None,
        seconds_video_decode: float = 0.0,
        reuse: bool = True,
        cache: VisualCache | None = None,
        windowed: WindowedVideo | None = None,
    ) -> None:
        check_kind(loaded, LoadedModel, "VideoSession takes a model that load() returned")
        self.loaded = loaded
        self.clip, self.clips = clip, (clip, *others)
        for one in self.clips:
            if not hasattr(one, "timestamps_s"):
                raise UsageError("VideoSession takes the frames of a video, as read(PATH) returns")
        self.seconds_load = loaded.seconds_load if seconds_load is None else seconds_load
        self._seconds_video_decode = seconds_video_decode
        self.windowed = windowed
        self.on_progress = on_progress or (lambda stage, done, total: None)
        if others:
            check_several(loaded.name, loaded.family, loaded.info.domain)
        with faults_of(loaded):
            self.videos = [
                show(loaded.processor, loaded.family, loaded.model.config, one)
                for one in self.clips
            ]
        self.video: VideoPrompt = self.videos[0]
        self._encoded: dict[tuple[Any, ...], tuple[Encoded, ...]] = {}
        self._attention_for: set[tuple[Any, ...]] = set()
        self.prefix = PrefixCache() if reuse else None
        self._asked_by: set[str] = set()
        # Without an identity (weights that nothing names) a file could be of other weights.
        self._cache = cache if loaded.identity else None
        self._cache_warning: str | None = None
        self._reported = {} if windowed is None else windowed.seconds

    def limit(self, question: str, history: Turns, method: Method, most: int) -> int:
        """Tokens that an answer may have; see `context.answer_room`."""
        if most != WHAT_FITS:
            return most
        text = self._ids(question, history).shape[1] - self.visual
        context = self.loaded.context_length
        if self.windowed is not None:
            # Their pool may fill what is left: three quarters of it at most.
            pooled = min(self.windowed.video_tokens, (context - text) * 3 // 4)
            return answer_room(context, most, text + pooled)
        return answer_room(context, most, text + sum(self._most_read(method)))

    def _most_read(self, method: Method) -> list[int]:
        """Visual tokens of each video that the language model reads at most."""
        return [method.most_read(v.frames, v.tokens_per_frame) for v in self.videos]

    def prompt(
        self, question: str, history: Turns, method: Method, options: GenerationOptions
    ) -> Callable[[], Prompt]:
        """The prompt of a question, made when it is called for: then the video must be encoded."""
        self._asked_by.add(repr(method))
        # What is kept of other videos counts as text does: `check_context` proposes flags for the
        # first one.
        ids = self._ids(question, history)
        if self.windowed is not None:
            self.windowed.check(method)
            return self.windowed.prompt(self.loaded, self.video, ids, options.max_tokens)
        text = ids.shape[1] - self.visual
        check_context(
            self.loaded.context_length,
            self.video.tokens,
            len(self.clip.timestamps_s),
            method,
            text,
            options.max_tokens,
            0 if self.clip.subtitles is None else len(self.clip.subtitles.lines),
            sum(self._most_read(method)[1:]),
        )

        def make() -> Prompt:
            family, config = self.loaded.family, self.loaded.model.config
            if isinstance(self.video, StockPrompt):
                inputs = self.video.stock_inputs(question, history)
                places = family.placeholders(config, inputs.pop("input_ids"), inputs)
                return Prompt(ids, inputs, places, ())
            inputs = extra_inputs(self.videos, ids, family.rope)
            placeholders = family.placeholders(config, ids, inputs)
            return Prompt(ids, inputs, placeholders, self._encoded[encoded_for(method)])

        return make

    def _ids(self, question: str, history: Turns) -> torch.Tensor:
        if isinstance(self.video, StockPrompt):
            return self.video.input_ids(question, history)
        return input_ids(self.videos, question, history)

    @property
    def visual(self) -> int:
        """V: visual tokens of all videos before any compression."""
        return sum(video.visual for video in self.videos)

    @property
    def info(self) -> ModelInfo:
        """What a method is settled for that this video is asked about by."""
        several = self.windowed is not None and self.windowed.count > 1
        return self.loaded.info.in_windows if several else self.loaded.info

    @property
    def is_prefilled(self) -> bool:
        """Whether keys and values of the video are kept from an earlier question."""
        return self.prefix is not None and not self.prefix.is_empty

    def record_attention_for(self, methods: Iterable[Method]) -> None:
        """Record the vision tower's attention from the first encoding on, if a method needs it.

        Otherwise the tower runs a second time for such a method, if another one is asked by first.
        """
        self._attention_for.update(
            encoded_for(method) for method in methods if "attention" in method.needs
        )

    def encode(self, watch: Stopwatch, method: Method) -> dict[str, float]:
        """Encode the video unless that is done; return its seconds, by keys of `result.Seconds`."""
        if self.windowed is not None:  # encoded already: the first answer reports it
            seconds, self._reported = self._reported, {"video_decode": 0.0, "vision": 0.0}
            return seconds
        if self.loaded.family.stock_inputs:  # generate() encodes it
            return {"video_decode": self._seconds_video_decode, "vision": 0.0}
        encoded = self._encoded.get(encoded_for(method), ())
        # One that was encoded without the tower's attention is encoded again with it, for methods
        # that need it and weren't expected; the other way round it serves as it is.
        if encoded and (encoded[0].tower is not None or "attention" not in method.needs):
            return {"video_decode": 0.0, "vision": 0.0}
        self.record_attention_for([method])
        started = watch.read()
        encoded = tuple(self._encode(video, method) for video in self.videos)
        self._encoded[encoded_for(method)] = encoded
        return {"video_decode": self._seconds_video_decode, "vision": watch.read() - started}

    def _encode(self, video: VideoPrompt, method: Method) -> Encoded:
        encoded, self._cache_warning = encode_cached(
            self.loaded,
            video,
            method,
            with_attention=encoded_for(method) in self._attention_for,
            cache=self._cache,
            on_frames=lambda done, total: self.on_progress("vision", done, total),
        )
        return encoded

    def warnings(self, question: str, method: Method, history: Turns = ()) -> list[str]:
        """Warnings for an answer: about memory, and about the disk that `cache` is on."""
        of_windows = () if self.windowed is None else self.windowed.warnings
        memory = self.memory_warning(question, method, history)
        warnings = (*of_windows, memory, self._cache_warning)
        return [sentence for sentence in warnings if sentence]

    def memory_warning(self, question: str, method: Method, history: Turns = ()) -> str | None:
        """A sentence where the answer will hardly fit on the device; None where it will.

        Args: as of `ask`.
        """
        # What is read of other videos counts as text does.
        with faults_of(self.loaded):
            read = self._ids(question, history).shape[1] - self.video.visual
            kept = min(MOST_STORED, len(self._asked_by | {repr(method)}))
            copies = 0 if self.prefix is None else kept
            return memory_warning(self.loaded, self.video, method, read, self._pooled, copies)

    def fitting(self, question: str, method: Method, history: Turns = ()) -> int:
        """Number of such questions about such videos that fit into the free memory together.

        Args: as of `ask`.
        """
        free = free_memory(self.loaded.input_device)
        if free is None:
            return 1
        text = self._ids(question, history).shape[1] - self.video.visual
        # Of a batch no prefix is kept.
        one = expected_bytes(self.loaded, self.video, method, text, self._pooled)
        return max(1, int(_SHARE * free) // one.working)

    def windows_of(self, batch: Batch) -> ReportedWindows | Absent:
        """What an answer reports of the windows that the video was read in."""
        if self.windowed is None or batch.preselection is None:
            return ABSENT
        return self.windowed.reported(batch.preselection)

    @property
    def _pooled(self) -> int | None:
        """Visual tokens that are left of a video that was read in windows; None of another one."""
        return None if self.windowed is None else len(self.windowed.tokens)
