"""Questions about videos, answered in one `generate()` call: one, or a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.engine.generation import Generated, generate
from dycoke_cli.engine.inject import encoded
from dycoke_cli.engine.memory import PeakMemory
from dycoke_cli.engine.out_of_memory import Stage, explained
from dycoke_cli.engine.pieces import in_pieces
from dycoke_cli.engine.prompts import Batch, together
from dycoke_cli.engine.report import make_answer
from dycoke_cli.engine.stopwatch import Stopwatch
from dycoke_cli.engine.trace import check_traceable, text_pieces
from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompt import Turns
from dycoke_cli.result import Answer

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession


@dataclass(frozen=True)
class Asked:
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
    asked: Sequence[Asked],
    method: Method,
    decoding: Decoding | None = None,
    on_text: Callable[[str], None] | None = None,
) -> list[Answer]:
    """Answer questions in one batch, each with its own choice of tokens.

    Greedy answers are those that each question gets alone (in float32 to the letter; in less,
    rounding may tip a close call).

    Args:
        asked: about videos in the same model; a video may come several times.
        method: what to leave out.
        decoding: how to write; None for the defaults.
        on_text: called with each stretch of a single answer as it is written.

    Raises:
        UsageError: a combination that isn't supported, or a prompt longer than the context.
        OutOfMemoryError: with the flag that helps.
    """
    decoding = decoding or Decoding()
    loaded = asked[0].session.loaded
    if any(item.session.loaded is not loaded for item in asked):
        raise UsageError("questions that are asked together need one model")
    method = method.suited(loaded.method_defaults)
    if decoding.trace:
        check_traceable(method)
    watch = Stopwatch(loaded.input_device)
    peak = PeakMemory(loaded.working_devices, loaded.working_weights_bytes)
    prompts = [a.session.prompt(a.question, a.history, method, decoding) for a in asked]
    stage = Stage()
    with explained(stage, method, loaded.model):
        seconds = [item.session.encode(watch, method) for item in asked]
        pad = loaded.processor.tokenizer.pad_token_id or 0
        batch = together([make() for make in prompts], pad)
        written = _generate(asked, batch, method, decoding, watch, stage, on_text)
    total, most = watch.read(), peak.read()
    return [
        make_answer(
            item.question,
            loaded,
            method,
            item.session.clip,
            generated,
            item.session.video.visual,
            prompt_tokens=int(mask.sum()),
            seconds={"load": item.session.seconds_load, **stages},
            total=total,
            peak=most,
            memory_warning=item.session.memory_warning(item.question, method, item.history),
        )
        for item, generated, mask, stages in zip(asked, written, batch.mask, seconds, strict=True)
    ]


def _generate(
    asked: Sequence[Asked],
    batch: Batch,
    method: Method,
    decoding: Decoding,
    watch: Stopwatch,
    stage: Stage,
    on_text: Callable[[str], None] | None,
) -> list[Generated]:
    session = asked[0].session
    model, tokenizer = session.loaded.model, session.loaded.processor.tokenizer

    def report(name: str, done: int, total: int) -> None:
        stage.name = name
        session.on_progress(name, done, total)

    report("prefill", 0, 1)
    prefix = session.prefix_of(method) if len(asked) == 1 else None
    attached: Any = in_pieces(model, prefix, batch.placeholders)
    if method.name != "none":
        chosen = [video.kept for video in batch.videos]
        attached = attach(model, method, trace=decoding.trace, prefix=prefix, chosen=chosen)
    with encoded(model, batch.videos, batch.placeholders), attached as attachment:
        written = generate(
            model,
            tokenizer,
            batch,
            decoding,
            watch,
            on_text=on_text,
            on_token=lambda n: report("decode", n, decoding.max_new_tokens),
        )
    if attachment is not None:
        for generated, stats in zip(written, attachment.stats, strict=True):
            # A batch goes on until its longest answer ends.
            generated.stats = stats.until(len(generated.tokens) - 1)
    if decoding.trace:
        pieces = text_pieces(tokenizer, written[0].tokens.tolist())
        written[0].trace = attachment.recorder.trace(pieces)
    return written
