"""Questions about videos, answered alone or in one batch, and questions without a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import LogitsProcessor

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.attach import attach, flat_without_method
from dycoke_cli.engine.chunked_prefill import chunked_prefill
from dycoke_cli.engine.encoded_video import EncodedVideo
from dycoke_cli.engine.faults import faults_of
from dycoke_cli.engine.generation import Generated, Stopwatch, generate, seconds_at_decoder
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.make_answer import make_answer, refusal
from dycoke_cli.engine.memory.measured import PeakMemory
from dycoke_cli.engine.memory.out_of_memory import Stage, explained
from dycoke_cli.engine.prompt_batch import Batch, inject_videos, together, without_video
from dycoke_cli.engine.trace import text_pieces
from dycoke_cli.engine.vision_tower.needs import check_tower
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.video_prompt import Turns, text_ids


@dataclass(frozen=True)
class Question:
    """A question about a video.

    Args:
        session: the video, with its model.
        question: plain text.
        history: what was asked about the video before, and what was answered.
    """

    session: EncodedVideo
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
    audio: None = None


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
    anew = not family.encoded_once
    injected: Any = inject_videos(model, batch.videos, batch.placeholders)
    decoding = flat_without_method(model) if stock and fast else nullcontext()
    reading: list[float] = []
    if anew:
        injected = seconds_at_decoder(model, watch, reading)
    if not stock:
        attached: Any = attach(
            model,
            method,
            trace=options.trace,
            prefix=prefix,
            videos=() if anew else batch.videos,
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
