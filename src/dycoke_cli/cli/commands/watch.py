"""`dycoke watch`: answers questions about a video while it comes."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.commands.presenter import AsJson, AsText
from dycoke_cli.cli.flags import request_flags, shared_flags
from dycoke_cli.cli.flags.arguments import questions_of
from dycoke_cli.cli.flags.param_flags import FromParams, speaking_of_flags, spread
from dycoke_cli.cli.flags.question_flags import OneVideoFlags, TypedFlags, duration_s
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer

BRIEF = """
    --question --every --until --timeout --model --frames --fps --method
    --merge-ratio --max-tokens --choices --yes-no --json --quiet
"""
_TIMEOUT_S = 30.0

Sampled = Annotated[
    Sampling,
    FromParams(
        "Frame sampling",
        exclusive=("frames", "fps"),
        without=("start_s", "end_s", "picture_fps"),
        common=("frames",),
    ),
]
_FLAGS = shared_flags.flag_table("""
    SOURCE: - for a stream on stdin (MPEG-TS, Matroska or fragmented MP4), a file that is being
        written in such a format, or a folder that fills with clips.
    --every TIME: Length of a window, such as 10s.
    --until ANSWER: End with the first window that has this answer, such as yes.
    [Source]
    --timeout TIME: End if nothing new arrives for so long. Default: 30s; for a folder, never.
""")
Source = Annotated[str, _FLAGS["SOURCE"]]


@dataclass(frozen=True)
class WatchFlags:
    """Flags of the windows, and of the source."""

    every: Annotated[str, _FLAGS["--every"]] = "10s"
    until: Annotated[str | None, _FLAGS["--until"]] = None
    timeout: Annotated[str | None, _FLAGS["--timeout"]] = None

    @property
    def timeout_s(self) -> float | None:
        """Seconds of --timeout; None where it isn't given."""
        return duration_s("--timeout", self.timeout)


@dataclass(frozen=True, kw_only=True)
class _Windowed(request_flags.Asking):
    """Flags of a question about each window."""

    sampling: Sampled


@spread
def watch(
    *,
    source: Source,
    words: shared_flags.QuestionArgument = None,
    more: shared_flags.Questions = None,
    watching: WatchFlags,
    how: _Windowed,
    method: request_flags.MethodFlags,
    typed: TypedFlags,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Answer questions about a video while it comes, window by window.

    Examples:
        dycoke watch recording.ts "What happens?" --every 30s
        ffmpeg -i rtsp://CAMERA -c copy -f mpegts - | dycoke watch - "What happens?"
        dycoke watch clips/ "What happens?" --json

    One line per window, with its start and end. Where asking takes longer than a window of a stream
    lasts, the newest one is asked about, and others are dropped and counted; windows of a file and
    clips of a folder wait. Ctrl-C ends the watch.
    """
    # Imported late, as below: help and completion need the flags alone.
    from dycoke_cli.answer.answer import SCHEMA
    from dycoke_cli.video.live_stream import parse_input

    question = " ".join(words or []) or None
    watched = parse_input(source)
    waiting: list[dict[str, Any]] = [{"video": source, "question": question}]
    if watched.kind == "file" and not os.path.lexists(source):
        raise VideoError(f"{watched.name} doesn't exist: check the spelling and the folder")
    if question is None and not more:
        raise UsageError('no question: put one behind the video, as in `dycoke watch VIDEO "…"`')
    parts = OneVideoFlags(every=watching.every, until=watching.until)
    request = typed.applied(how.request(method.chosen()))
    questions = questions_of(question, more, source)
    parts.check(request, (watched.name,), questions)  # as no `-`: stdin is read in parts
    timeout_s = watching.timeout_s
    waiting[:] = [{"video": source, "question": text} for text in questions]
    note = BUNDLED_NOTE if how.named is None and not quiet else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(output.failures_as_json(as_json, SCHEMA, waiting))
        presenter = stack.enter_context(
            _Lines(waiting, quiet, note) if as_json else AsText(len(questions), quiet, note)
        )
        presenter.stage("start")
        from dycoke_cli.runs.converse import asks_of, engine_of
        from dycoke_cli.runs.parts import Parts
        from dycoke_cli.runs.watching import watch_folder, watch_stream

        assert parts.every_s is not None
        windows = Parts(parts.every_s, parts.until)
        with speaking_of_flags():
            engine = stack.enter_context(
                engine_of(request, presenter, keep=int(len(questions) > 1))
            )
            asks = asks_of([source], questions, request)
            if watched.kind == "folder":
                watch_folder(engine, asks, windows, source, timeout_s, presenter)
            else:
                seconds = timeout_s or _TIMEOUT_S
                watch_stream(engine, asks, windows, watched, seconds, presenter)


class _Lines(AsJson):
    """An object per answer; what is outstanding are the questions about the next window."""

    def begin_video(self, name: str) -> None:
        """See `Listener`."""
        self._waiting[:] = self._each = [{**one, "video": name} for one in self._each]

    def finish(self, answer: Answer) -> None:
        """Write the object."""
        super().finish(answer)
        if not self._waiting:
            self._waiting[:] = self._each

    def failed(self, reason: str) -> None:
        """Write an error object for each outstanding question about a clip."""
        from dycoke_cli.answer.answer import SCHEMA

        super().failed(reason)
        for one in self._waiting:
            output.write_json(output.error_document(SCHEMA, VideoError(reason), **one))
        self._waiting[:] = self._each
