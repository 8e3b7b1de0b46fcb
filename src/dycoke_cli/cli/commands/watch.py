"""`dycoke watch`: answers questions about a video while it comes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.commands.presenter import AsJson, AsText
from dycoke_cli.cli.flags import options, question_input, request_flags, typed_flags
from dycoke_cli.cli.flags.method_flags import MethodFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.flags.part_flags import PartFlags, duration_s
from dycoke_cli.cli.flags.spread import FromParams, spread
from dycoke_cli.cli.flags.typed_flags import TypedFlags
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.file_names import STDIN
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer

BRIEF = """
    --question --every --until --changes --timeout --allow-network --model --frames --fps --device
    --quantize --method --retain --max-new-tokens --choices --yes-no --score --json --quiet
"""
_SOURCE = "Source"
_TIMEOUT_S = 30.0

Sampled = Annotated[
    Sampling,
    FromParams(
        "Frame sampling",
        exclusive=("frames", "fps"),
        without=("start_s", "end_s", "audio", "picture_fps"),
        common=("frames",),
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file that is being written (MPEG-TS, Matroska or fragmented MP4), a folder that "
        "fills with clips, a device such as /dev/video0, or an address (rtsp://, http://, "
        "https://).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class WatchFlags:
    """Flags of the windows, and of the source."""

    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="Length of a window, such as 10s.")
    ] = "10s"
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="ANSWER",
            help="End with the first window that has this answer, such as yes.",
            show_default=False,
        ),
    ] = None
    changes: Annotated[
        bool, typer.Option("--changes", help="Print an answer only if it changes.")
    ] = False
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="End if nothing new arrives for so long. Default: 30s; for a folder, never.",
            show_default=False,
            rich_help_panel=_SOURCE,
        ),
    ] = None
    allow_network: Annotated[
        bool,
        typer.Option(
            "--allow-network",
            help="Connect to the address of a stream, and to no other.",
            rich_help_panel=_SOURCE,
        ),
    ] = False

    @property
    def timeout_s(self) -> float | None:
        """Seconds of --timeout; None where it isn't given."""
        return duration_s("--timeout", self.timeout)


@spread
def watch(
    *,
    source: Source,
    words: options.QuestionArgument = None,
    more: options.Questions = None,
    watching: WatchFlags,
    model: request_flags.Model,
    sampling: Sampled,
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    method: MethodFlags,
    generation: request_flags.Generation,
    typed: TypedFlags,
    fields: typed_flags.Fields = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Answer questions about a video while it comes, window by window.

    Examples:
        dycoke watch recording.ts "What happens?" --every 30s
        dycoke watch rtsp://camera/1 "Is a person there?" --yes-no --allow-network
        dycoke watch clips/ "What happens?" --json

    One line per window, with its start and end. Where asking takes longer than a window lasts, the
    newest one is asked about, and others are dropped and counted. Ctrl-C ends the watch.
    """
    # Imported late, as below: help and completion need the flags alone.
    from dycoke_cli.answer.answer import SCHEMA
    from dycoke_cli.video.live.live_stream import parse_address

    question = " ".join(words or []) or None
    address = parse_address(source)
    video = address.name if address.needs_network else source
    waiting: list[dict[str, Any]] = [{"video": video, "question": question}]
    if source == STDIN:
        raise UsageError("watch can't read stdin: name a file, a folder, a device or an address")
    if address.needs_network and not watching.allow_network:
        raise UsageError(f"{address.name} needs the network: add --allow-network")
    if os.name == "nt" and address.kind != "folder":
        raise UsageError("on Windows only a folder can be watched: record clips into one")
    if address.kind == "file" and not os.path.lexists(source):
        raise VideoError(f"{address.name} doesn't exist: check the spelling and the folder")
    parts = PartFlags(every=watching.every, until=watching.until)
    request = method.applied(request_flags.request(model, loading, sampling, generation, limits))
    request = typed.applied(request, fields)
    questions = question_input.collect(question, more, source)
    parts.check(request, (source,), questions)
    timeout_s = watching.timeout_s
    waiting[:] = [{"video": video, "question": text} for text in questions]
    note = BUNDLED_NOTE if model.named is None and not quiet else None
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, waiting))
        presenter = stack.enter_context(
            _Lines(waiting, quiet, note, watching.changes)
            if as_json
            else _Text(len(questions), quiet, note, watching.changes)
        )
        presenter.stage("start")
        from dycoke_cli.runs.converse import asks_of, engine_of
        from dycoke_cli.runs.part_by_part import Parts
        from dycoke_cli.runs.watching import watch_folder, watch_stream

        assert parts.every_s is not None
        windows = Parts(parts.every_s, parts.until)
        with speaking_of_flags():
            engine = stack.enter_context(
                engine_of(request, presenter, keep=int(len(questions) > 1))
            )
            asks = asks_of([video], questions, request)
            if address.kind == "folder":
                watch_folder(engine, asks, windows, source, timeout_s, presenter)
            else:
                seconds = timeout_s or _TIMEOUT_S
                watch_stream(engine, asks, windows, address, seconds, presenter)


class _Changes:
    """Tells answers that differ from the one before to the same question, as `--until` compares."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def has(self, answer: Answer) -> bool:
        """Whether the answer is a change; it is the one before from now on."""
        from dycoke_cli.runs.part_by_part import comparable

        text = comparable(answer.answer)
        changed = self._last.get(answer.question) != text
        self._last[answer.question] = text
        return changed


class _Text(AsText):
    """A line per answer; with `changes` once it is known to be one."""

    def __init__(self, questions: int, quiet: bool, note: str | None, changes: bool) -> None:
        super().__init__(questions, quiet, note)
        self._changes = _Changes() if changes else None

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """See `AsText`."""
        return super().on_text if self._changes is None else None

    def begin(self, question: str) -> None:
        """See `AsText`."""
        if self._changes is None:
            super().begin(question)

    def finish(self, answer: Answer) -> None:
        """See `AsText`."""
        if self._changes is not None:
            if not self._changes.has(answer):
                self.stop()
                return
            super().begin(answer.question)
            self._add(answer.answer)
        super().finish(answer)


class _Lines(AsJson):
    """An object per answer; what is outstanding are the questions about the next window."""

    def __init__(
        self, waiting: list[dict[str, Any]], quiet: bool, note: str | None, changes: bool
    ) -> None:
        super().__init__(waiting, quiet, note)
        self._changes = _Changes() if changes else None

    def begin_video(self, name: str) -> None:
        """See `Listener`."""
        self._waiting[:] = self._each = [{**one, "video": name} for one in self._each]

    def finish(self, answer: Answer) -> None:
        """Write the object, where it is wanted."""
        if self._changes is None or self._changes.has(answer):
            super().finish(answer)
        else:
            self.stop()
            del self._waiting[0]
        if not self._waiting:
            self._waiting[:] = self._each

    def failed(self, reason: str) -> None:
        """Write an error object for each outstanding question about a clip."""
        from dycoke_cli.answer.answer import SCHEMA

        super().failed(reason)
        for one in self._waiting:
            output.write_json(output.error_document(SCHEMA, VideoError(reason), **one))
        self._waiting[:] = self._each
