"""What an agent can do with videos: ask about one, probe it, and look at a few of its frames.

Each function runs in a thread of its own, and reports its progress.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT, to_dict
from dycoke_cli.ask import Answered, Ask, Event, Failed, Footage, Progress
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.request import Request
from dycoke_cli.runs.file_walk import walk
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.parts import find_when
from dycoke_cli.server.media import Media
from dycoke_cli.server.replies import typed
from dycoke_cli.server.service import ServiceLimits, start_service
from dycoke_cli.unicode import display_name
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.files import is_video
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.server.service import Service


_SHOWN = 200  # characters of a path
_LISTED = 10  # videos
_FOLDERS = 1000  # that are searched for them


def file_below(roots: Sequence[Path], name: str) -> Path:
    """The file of a path, which is absolute or below one of some folders.

    Links are resolved before the check, so that neither they nor `..` lead outside. A file outside
    and one that isn't there get the same error: nobody learns what other folders have. The error
    lists some of the videos below the folders, because an agent has no other way to find them.

    Args:
        name: as given.
    """
    resolved = [root.resolve() for root in roots]
    for root in resolved:
        if (file := _inside(root, name, resolved)) is not None:
            return file
    folders = ", ".join(display_name(str(root)) for root in roots)
    raise UsageError(
        f"there is no file {display_name(name)[:_SHOWN]} below {folders}: {_videos(resolved)}"
    )


def _inside(root: Path, name: str, roots: Sequence[Path]) -> Path | None:
    """The file of a path below a folder, if it is in one of the folders once links are resolved."""
    try:
        real = (root / name).resolve(strict=True)
        return real if any(map(real.is_relative_to, roots)) and real.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _videos(roots: Sequence[Path]) -> str:
    """Some of the videos below the folders, by their paths from there."""
    paths = (
        os.path.join(inside, name)
        for root in roots
        for inside, _, names in islice(walk(str(root)), _FOLDERS)
        for name in names
        if is_video(name) and _inside(root, os.path.join(inside, name), roots)
    )
    first = [display_name(path)[:_SHOWN] for path in islice(paths, _LISTED + 1)]
    listed = ", ".join(sorted(first[:_LISTED])) or "no videos"
    return f"there are {listed}" + (", and others" if len(first) > _LISTED else "")


MOST_PICTURES = 16
"""Frames that are given to an agent at once."""
PICTURE_PX = 512
"""Longer side of such a frame."""
STAGES = ("load", "vision", "prefill", "decode")
"""Stages of an answer, in order, of which each counts the same."""
_QUALITY = 85
_POLL_S = 0.5

Report = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


@dataclass(frozen=True)
class VideoExcerpt:
    """A part of a video."""

    # seconds from the first frame; None for that of the command, or the start
    start_s: float | None = None
    end_s: float | None = None  # likewise, exclusive; None for that of the command, or the end

    def of(self, sampling: Sampling, frames: int | None = None) -> Sampling:
        """A sampling of this part, with another number of frames if that is given."""
        if frames is not None:
            sampling = replace(sampling, frames=frames, fps=None, max_frames=None)
        start_s = sampling.start_s if self.start_s is None else self.start_s
        end_s = sampling.end_s if self.end_s is None else self.end_s
        return replace(sampling, start_s=start_s, end_s=end_s)


@dataclass(frozen=True)
class VideoQuestion:
    """A question about a video."""

    video: str  # path of it
    question: str  # plain text
    part: VideoExcerpt = VideoExcerpt()  # that is asked about
    choices: tuple[str, ...] = ()  # options that the answer is one of; empty for any answer
    method: str | None = None  # as `--method` takes it; None for that of the command
    frames: int | None = None  # that are read; None for those of the command
    # JSON Schema that the answer follows; None for any answer
    schema: Mapping[str, Any] | None = None

    def applied(self, path: Path, request: Request, most_frames: int) -> Ask:
        """The question to the model, about the file of the video."""
        frames = None if self.frames is None else min(self.frames, most_frames)
        generation = request.generation
        if self.choices:
            generation = replace(generation, typed=TypedOptions(self.choices))
        if self.schema is not None:
            form = StructuredOutput.from_schema(self.schema)
            generation = replace(generation, structured=form)
        method = None if self.method is None else parse_spec(self.method, "method").create()
        if method not in (None, request.method):
            request = request.with_method(method)
        sampling = self.part.of(request.sampling, frames)
        status = path.stat()
        # An overwritten file is another video.
        identity = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        video = Footage(str(path), path.name, shown_as=path.name, identity=identity)
        asked = replace(request, sampling=sampling, generation=generation)
        return Ask(self.question, asked, (video,))


class VideoTools:
    """The tools about the videos below some folders; the model is loaded at the first question."""

    def __init__(
        self,
        roots: Sequence[Path],
        request: Request,
        unloaded: UnloadedModel,
        limits: ServiceLimits,
    ) -> None:
        self._roots, self._request = tuple(roots), request
        self._unloaded, self._limits = unloaded, limits
        self._loading = threading.Lock()

    def ask(
        self, asked: VideoQuestion, report: Report, cancelled: threading.Event
    ) -> dict[str, Any]:
        """The answer to a question about a video."""
        answer = self._ask(asked, report, cancelled)
        found = {"answer": answer.answer, "warnings": list(answer.warnings), **typed(answer)}
        found.pop("scoring", None)
        return found if answer.parsed is ABSENT else {**found, "parsed": answer.parsed}

    def when(
        self,
        asked: VideoQuestion,
        every_s: float | None,
        report: Report,
        cancelled: threading.Event,
    ) -> dict[str, Any]:
        """Time ranges in which the answer to a question is yes, as of `dycoke ask --when`.

        Args:
            every_s: length of the windows in seconds; None for the usual one.
        """
        _check_question(asked)
        info, sampling = self.probe(asked.video, asked.part), asked.part.of(self._request.sampling)
        if len(info["frames_read_at_s"]) == 1 and sampling.frames > 1:
            if (sampling.start_s, sampling.end_s) != (None, None):
                raise UsageError(f"{asked.video} has one frame in this part: name a longer one")
            raise UsageError(f"{asked.video} is a still picture: when needs a video")
        self._loaded(report)
        done = count(1)

        def ask(question: str, part: tuple[float, float] | None) -> Answer:
            own = replace(asked, question=question, choices=("yes", "no"))
            if part is not None:
                own = replace(own, part=VideoExcerpt(*part))
            answer = self._ask(own, _silent, cancelled)
            # How many are still to come depends on what is found.
            report("decode", number := next(done), number + 1)
            return answer

        found = find_when(ask, lambda: info["duration_s"], sampling, asked.question, every_s)
        ranges = [to_dict(one) for one in found.when] if isinstance(found.when, tuple) else []
        return {"answer": found.answer, "when": ranges, "warnings": list(found.warnings)}

    def probe(self, video: str, part: VideoExcerpt) -> dict[str, Any]:
        """What is stored of a video, and the times of the frames that a question would read."""
        path = file_below(self._roots, video)
        sampling = part.of(replace(self._request.sampling, audio=None))
        with (
            Decoder(self._request.limits) as decoder,
            decoder.open(str(path), sampling, shown_as=path.name, fitted=True) as opened,
        ):
            plan = opened.plan
        return {**to_dict(plan.info), "frames_read_at_s": [round(t, 3) for t in plan.times_s]}

    def frames(self, video: str, part: VideoExcerpt, count: int) -> list[tuple[float, bytes]]:
        """A few frames of a video: the time of each in seconds, and a JPEG."""
        from PIL import Image

        if not 1 <= count <= MOST_PICTURES:
            raise UsageError(f"count must be from 1 to {MOST_PICTURES}, not {count}")
        path = file_below(self._roots, video)
        with Decoder(self._request.limits) as decoder:
            clip = decoder.read(str(path), part.of(Sampling(), count), shown_as=path.name)
        pictures = []
        for time_s, frame in zip(clip.timestamps_s, clip.frames, strict=True):
            file, picture = io.BytesIO(), Image.fromarray(frame)
            picture.thumbnail((PICTURE_PX, PICTURE_PX))
            picture.save(file, "JPEG", quality=_QUALITY)
            pictures.append((time_s, file.getvalue()))
        return pictures

    def close(self) -> None:
        """End the model's thread."""
        if "_service" in vars(self):
            self._service.engine.close()

    def _ask(self, asked: VideoQuestion, report: Report, cancelled: threading.Event) -> Answer:
        path = file_below(self._roots, asked.video)
        _check_question(asked)
        service = self._loaded(report)
        ask = asked.applied(path, service.defaults, self._limits.frames)
        return _answered(service.engine, ask, report, cancelled)

    @cached_property
    def _service(self) -> Service:
        service = start_service(self._request, self._unloaded, Media(), self._limits, Listener())
        service.engine.start()
        return service

    def _loaded(self, report: Report) -> Service:
        """The service; questions that come at once wait for one loading."""
        report("load", 0, 1)
        with self._loading:
            service = self._service
        report("load", 1, 1)
        return service


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the answer is one of many."""


def _check_question(asked: VideoQuestion) -> None:
    if not asked.question.strip():
        raise UsageError("the question is empty")


def _answered(engine: Engine, ask: Ask, report: Report, cancelled: threading.Event) -> Answer:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    [pending] = engine.submit(ask, on_event=lambda _, event: events.put(event), streams=False)
    while not cancelled.is_set():
        try:
            event = events.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if isinstance(event, Progress):
            report(event.stage, event.done, event.total)
        elif isinstance(event, Failed):
            raise event.error
        elif isinstance(event, Answered):
            return event.answer
    pending.cancel()
    raise UsageError("the question was cancelled")


def progress_of(stage: str, done: int, total: int) -> float:
    """How far an answer is, from 0 to 1, at a step of a stage."""
    number = STAGES.index(stage) if stage in STAGES else 0
    return (number + (done / total if total else 0.0)) / len(STAGES)
