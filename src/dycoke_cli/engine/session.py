"""Encode once, ask many: a video with a model, and its questions, answered alone or in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.answer import make_answer, refusal
from dycoke_cli.engine.attach import attach, flat_without_method
from dycoke_cli.engine.chunked_prefill import PrefixCache, chunked_prefill
from dycoke_cli.engine.context import check_context, check_several
from dycoke_cli.engine.encode import Encoded, encode_video
from dycoke_cli.engine.faults import faults_of
from dycoke_cli.engine.generation import Generated, Stopwatch, generate, seconds_at_decoder
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory.expected_bytes import memory_warning
from dycoke_cli.engine.memory.measured import PeakMemory
from dycoke_cli.engine.memory.out_of_memory import Stage, explained
from dycoke_cli.engine.prompt_batch import (
    Batch,
    Prompt,
    all_of_stock,
    inject_videos,
    together,
    without_video,
)
from dycoke_cli.engine.trace import text_pieces
from dycoke_cli.engine.vision_tower.needs import check_tower
from dycoke_cli.engine.visual_cache import VisualCache, key_of
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.stock_prompt import StockPrompt, show
from dycoke_cli.models.video_prompt import (
    Frames,
    Turns,
    VideoPrompt,
    beside,
    input_ids,
    text_ids,
)
from dycoke_cli.result import Answer

Progress = Callable[[str, int, int], None]


class VideoSession:
    """Questions about one video, which is encoded and prefilled once, at the first question.

    Or about several videos together, in a model whose prompt shows several: each is encoded alone,
    and the method chooses from each alone before the language model.

    Attributes:
        video: what the stock processor made of it; of the first of several.

    Args:
        loaded: the model.
        clip: the frames.
        others: the frames of more videos, which are shown behind it.
        on_progress: called with (stage, done, total); stages are "vision" (frames), "prefill"
            and "decode" (tokens).
        seconds_load: how long the model took to load, for the report.
        seconds_video_decode: how long the frames took to decode; part of the first answer's time.
        reuse: whether keys and values of the video are kept for the next question, which then
            costs only its own text; one that comes alone has no use for them.
        cache: of encoded videos on disk, or None.

    Raises:
        UsageError: several videos, and the prompt of the model shows one.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        clip: Frames,
        on_progress: Progress | None = None,
        *,
        others: Sequence[Frames] = (),
        seconds_load: float | None = None,
        seconds_video_decode: float = 0.0,
        reuse: bool = True,
        cache: VisualCache | None = None,
    ) -> None:
        self.loaded = loaded
        self.clip, self.clips = clip, (clip, *others)
        self.seconds_load = loaded.seconds_load if seconds_load is None else seconds_load
        self._seconds_video_decode = seconds_video_decode
        self.on_progress = on_progress or (lambda stage, done, total: None)
        if others:
            check_several(loaded.name, loaded.family, loaded.domain)
        with faults_of(loaded):
            self.videos = [
                show(loaded.processor, loaded.family, loaded.model.config, one)
                for one in self.clips
            ]
        self.video: VideoPrompt = self.videos[0]
        self._encoded: dict[tuple[Any, ...], tuple[Encoded, ...]] = {}
        self._prefix = PrefixCache() if reuse else None
        self._cache = cache if loaded.identity else None
        self._unkept: str | None = None

    def ask(
        self,
        question: str,
        method: Method,
        *,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        observer: LogitsProcessor | None = None,
        **generation: Any,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: the compression method.
            on_text: called with each stretch of the answer as it is generated.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            observer: sees the logits of each step (`observing`), or None.
            generation: fields of `GenerationOptions`, such as `max_new_tokens=64`.

        Raises:
            UsageError: a combination that isn't supported, or a prompt longer than the model's
                context (with the number of frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        options = GenerationOptions(**generation)
        questions = [Question(self, question, history)]
        return ask_together(questions, method, options, on_text, observer)[0]

    def prompt(
        self, question: str, history: Turns, method: Method, options: GenerationOptions
    ) -> Callable[[], Prompt]:
        """The prompt of a question, made when it is called for: then the video must be encoded.

        Raises:
            UsageError: with what is kept of the video, it is longer than the model's context.
        """
        ids = self._ids(question, history)
        text = ids.shape[1] - self.visual
        kept_of_others = sum(
            method.kept_tokens(video.frames, video.tokens_per_frame) for video in self.videos[1:]
        )
        check_context(
            self.loaded.context_length,
            self.video.tokens,
            len(self.clip.timestamps_s),
            method,
            text,
            options.max_new_tokens,
            0 if self.clip.subtitles is None else len(self.clip.subtitles.lines),
            kept_of_others,
        )

        def make() -> Prompt:
            family, config = self.loaded.family, self.loaded.model.config
            if isinstance(self.video, StockPrompt):
                inputs = self.video.stock_inputs(question, history)
                return all_of_stock(inputs, family.placeholders(config, ids, inputs))
            extra_inputs = beside(self.videos, ids, family.rope)
            placeholders = family.placeholders(config, ids, extra_inputs)
            return Prompt(ids, extra_inputs, placeholders, self._encoded[_encoded_for(method)])

        return make

    def _ids(self, question: str, history: Turns) -> torch.Tensor:
        if isinstance(self.video, StockPrompt):
            return self.video.input_ids(question, history)
        return input_ids(self.videos, question, history)

    @property
    def visual(self) -> int:
        """V: visual tokens of all videos before any compression."""
        return sum(video.visual for video in self.videos)

    def encode(self, watch: Stopwatch, method: Method) -> dict[str, float]:
        """Encode the video unless that is done; return its seconds, by keys of `result.Seconds`."""
        if isinstance(self.video, StockPrompt):  # generate() encodes it
            return {"video_decode": self._seconds_video_decode, "vision": 0.0}
        held = self._encoded.get(_encoded_for(method), ())
        if held and (held[0].tower is not None or "attention" not in method.needs):
            return {"video_decode": 0.0, "vision": 0.0}
        started = watch.read()
        encoded = tuple(self._encode(video, method) for video in self.videos)
        self._encoded[_encoded_for(method)] = encoded
        return {"video_decode": self._seconds_video_decode, "vision": watch.read() - started}

    def _encode(self, video: VideoPrompt, method: Method) -> Encoded:
        loaded = self.loaded
        merging = method.before_vision() or method.merge_frames()
        with_attention = "attention" in method.needs

        def encode() -> Encoded:
            return encode_video(
                loaded.model,
                loaded.family,
                video,
                lambda done, total: self.on_progress("vision", done, total),
                merging,
                with_attention,
            )

        # What merging leaves of a video isn't kept on disk: it depends on the method as well.
        if self._cache is None or merging is not None:
            return encode()
        key = key_of(loaded.identity or {}, video.inputs)
        found = self._cache.get(key, loaded.input_device, with_attention)
        if found is None:
            found = encode()
            try:
                self._cache.put(key, found)
                self._unkept = None
            except OutputError as error:  # the answer doesn't depend on it
                self._unkept = f"the encoded video isn't kept: {error}"
        return found

    def prefix_for(self, method: Method) -> PrefixCache | None:
        """What was prefilled of the video; None where a method wants that off the device."""
        pruning = method.pruning()
        return None if pruning is not None and pruning.dp_cache != "device" else self._prefix

    def warnings(self, question: str, method: Method, history: Turns = ()) -> list[str]:
        """What an answer is to say of memory, and of the disk that `cache` is on."""
        found = (self.memory_warning(question, method, history), self._unkept)
        return [sentence for sentence in found if sentence]

    def memory_warning(self, question: str, method: Method, history: Turns = ()) -> str | None:
        """A sentence where the answer will hardly fit on the device; None where it will.

        Args: as of `ask`.
        """
        # What is read of other videos counts as text does.
        with faults_of(self.loaded):
            read = self._ids(question, history).shape[1] - self.video.visual
            method = method.suited(self.loaded.method_defaults)
            return memory_warning(self.loaded, self.video, method, read)


@dataclass(frozen=True)
class Question:
    """A question about a video.

    Args:
        session: the video, with its model.
        question: plain text.
        history: what was asked about the video before, and what was answered.
    """

    session: VideoSession
    question: str
    history: Turns = ()


def ask_together(
    questions: Sequence[Question],
    method: Method,
    options: GenerationOptions | None = None,
    on_text: Callable[[str], None] | None = None,
    observer: LogitsProcessor | None = None,
) -> list[Answer]:
    """Answer questions in one batch, each with its own selection of tokens.

    Greedy answers are those that each question gets alone (in float32 to the letter; in less,
    rounding may tip a close call).

    Args:
        questions: about videos in the same model; a video may come several times.
        method: the compression method.
        options: how to generate; None for the defaults.
        on_text: called with each stretch of a single answer as it is generated.
        observer: sees the logits of each step, of the questions that are put to the model.

    Raises:
        UsageError: a combination that isn't supported, or a prompt longer than the context.
        OutOfMemoryError: with the flag that helps.
    """
    options = options or GenerationOptions()
    loaded = questions[0].session.loaded
    if any(item.session.loaded is not loaded for item in questions):
        raise UsageError("questions that are asked together need one model")
    if loaded.family.stock_inputs and len(questions) > 1:  # whose inputs have no order of rows
        return [ask_together([one], method, options, on_text, observer)[0] for one in questions]
    watch = Stopwatch(loaded.input_device)
    with faults_of(loaded):
        method = method.suited(loaded.method_defaults)
        check_tower(loaded.model.config, method)
        prompts = [q.session.prompt(q.question, q.history, method, options) for q in questions]
    ready = [refusal(loaded, item.question, method, item.session.clip) for item in questions]
    if any(ready):
        rest = [item for item, answer in zip(questions, ready, strict=True) if answer is None]
        asked = iter(ask_together(rest, method, options, on_text, observer) if rest else ())
        if on_text is not None and ready[0] is not None:
            on_text(ready[0].answer)
        return [next(asked) if answer is None else answer for answer in ready]
    peak = PeakMemory(loaded.working_devices, loaded.working_weights_bytes)
    stage = Stage()
    with faults_of(loaded), explained(stage, method, loaded.model):
        seconds = [item.session.encode(watch, method) for item in questions]
        pad = loaded.processor.tokenizer.pad_token_id or 0
        batch = together([make() for make in prompts], pad)
        outputs = _generate(questions, batch, method, options, watch, stage, on_text, observer)
    total, most = watch.read(), peak.read()
    return [
        make_answer(
            item.question,
            loaded,
            method,
            item.session.clips,
            generated,
            [video.visual for video in item.session.videos],
            prompt_tokens=int(mask.sum()),
            seconds={"load": item.session.seconds_load, **stages},
            total=total,
            peak=most,
            session_warnings=item.session.warnings(item.question, method, item.history),
        )
        for item, generated, mask, stages in zip(
            questions, outputs, batch.mask, seconds, strict=True
        )
    ]


@dataclass(frozen=True)
class _NoFrames:
    """Of a question that is asked without a video."""

    frames: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))
    timestamps_s: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    subtitles: None = None


def ask_without_video(
    loaded: LoadedModel,
    question: str,
    history: Turns = (),
    options: GenerationOptions | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Answer a question that no video is shown with.

    Args: as of `Question` and `ask_together`.
    """
    if (refused := refusal(loaded, question, Method(), _NoFrames())) is not None:
        if on_text is not None:
            on_text(refused.answer)
        return refused
    watch = Stopwatch(loaded.input_device)
    peak = PeakMemory(loaded.working_devices, loaded.working_weights_bytes)
    with faults_of(loaded):
        ids = text_ids(loaded.processor, question, history)
        [generated] = generate(
            loaded.model,
            loaded.processor.tokenizer,
            without_video(ids),
            options or GenerationOptions(),
            watch,
            on_text=on_text,
            on_token=None,
        )
    return make_answer(
        question,
        loaded,
        Method(),
        [_NoFrames()],
        generated,
        visual=[0],
        prompt_tokens=ids.shape[1],
        seconds={"load": loaded.seconds_load, "video_decode": 0.0, "vision": 0.0},
        total=watch.read(),
        peak=peak.read(),
    )


def _generate(
    questions: Sequence[Question],
    batch: Batch,
    method: Method,
    options: GenerationOptions,
    watch: Stopwatch,
    stage: Stage,
    on_text: Callable[[str], None] | None,
    observer: LogitsProcessor | None,
) -> list[Generated]:
    session = questions[0].session
    model, tokenizer = session.loaded.model, session.loaded.processor.tokenizer

    def report(name: str, done: int, total: int) -> None:
        stage.name = name
        session.on_progress(name, done, total)

    report("prefill", 0, 1)
    prefix = session.prefix_for(method) if len(questions) == 1 else None
    family, fast = session.loaded.family, session.loaded.kernels == "fast"
    # A trace is recorded by an attachment, that of the baseline too: it keeps all tokens.
    stock = method.name == "none" and options.trace is None
    injected: Any = inject_videos(model, batch.videos, batch.placeholders)
    decoding = flat_without_method(model) if stock and fast else nullcontext()
    reading: list[float] = []
    if family.stock_inputs:
        injected = seconds_at_decoder(model, watch, reading)
    if not stock:
        attached: Any = attach(
            model,
            method,
            trace=options.trace,
            prefix=prefix,
            videos=() if family.stock_inputs else batch.videos,
            flat=fast,
            frames=session.video.frames if family.frames_told else None,
        )
    elif family.only_none:
        attached = nullcontext()
    else:
        attached = chunked_prefill(model, prefix, batch.placeholders)
    with injected, decoding, attached as attachment:
        outputs = generate(
            model,
            tokenizer,
            batch,
            options,
            watch,
            on_text=on_text,
            on_token=lambda n: report("decode", n, options.max_new_tokens),
            observer=observer,
        )
    if reading:
        # Of the time to the first token, what passed before the language model is the vision's.
        took = outputs[0].seconds
        took["vision"] = reading[0] - took["first_token"] + took["prefill"]
        took["prefill"] -= took["vision"]
    if attachment is not None:
        for generated, stats in zip(outputs, attachment.stats, strict=True):
            # A batch goes on until its longest answer ends.
            generated.stats = stats.until(len(generated.tokens) - 1)
    if options.trace is not None:
        pieces = text_pieces(tokenizer, outputs[0].tokens.tolist())
        outputs[0].trace = attachment.recorder.trace(pieces)
    return outputs


def _encoded_for(method: Method) -> tuple[Any, ...]:
    """What tells one way of encoding from another: nothing for that of whole frames."""
    merging = method.before_vision() or method.merge_frames()
    return () if merging is None else merging.parameters
