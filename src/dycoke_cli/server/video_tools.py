"""What an agent can do with videos: ask about one, probe it, and look at a few of its frames.

Each function runs in a thread of its own, and reports its progress.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from dycoke_cli import (
    Answer,
    Answered,
    Ask,
    Engine,
    Event,
    Failed,
    Footage,
    Progress,
    Request,
    Sampling,
    StructuredOutput,
    TypedOptions,
)
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.file_walk import walk
from dycoke_cli.runs.parts import find_when
from dycoke_cli.server.media import inside
from dycoke_cli.unicode import display_name
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.files import is_video

_SHOWN = 200  # characters of a path
_LISTED = 10  # videos
_FOLDERS = 1000  # that are searched for them


def file_below(roots: Sequence[Path], name: str) -> Path:
    """The file of a path, which is absolute or below one of some folders.

    A file outside and one that isn't there get the same error: nobody learns what other folders
    have. The error lists some of the videos below the folders, because an agent has no other way to
    find them.
    """
    for root in roots:
        if (file := inside(root.resolve() / name, roots)) is not None:
            return file
    folders = ", ".join(display_name(str(root)) for root in roots)
    raise UsageError(
        f"there is no file {display_name(name)[:_SHOWN]} below {folders}: {_videos(roots)}"
    )


def _videos(roots: Sequence[Path]) -> str:
    """Some of the videos below the folders, by their paths from there."""
    paths = (
        os.path.join(folder, name)
        for root in roots
        for folder, _, names in islice(walk(str(root)), _FOLDERS)
        for name in names
        if is_video(name) and inside(root / folder / name, roots)
    )
    first = [display_name(path)[:_SHOWN] for path in islice(paths, _LISTED + 1)]
    listed = ", ".join(sorted(first[:_LISTED])) or "no videos"
    return f"there are {listed}" + (", and others" if len(first) > _LISTED else "")


MOST_PICTURES = 16
"""Frames that are given to an agent at once."""
_PICTURE_PX = 512  # longer side of such a frame
_QUALITY = 85  # equivalent: a picture a shade better or worse
_POLL_S = 0.5

Part = tuple[float | None, float | None]
"""Start and end of a part of a video, in seconds; None for those of the command."""
Report = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def _sampling(sampling: Sampling, part: Part, frames: int | None = None) -> Sampling:
    """A sampling of a part, with another number of frames if that is given."""
    if frames is not None:
        sampling = replace(sampling, frames=frames, fps=None, max_frames=None)
    start_s, end_s = part
    return replace(
        sampling,
        start_s=sampling.start_s if start_s is None else start_s,
        end_s=sampling.end_s if end_s is None else end_s,
    )


class VideoTools:
    """The tools about the videos below some folders.

    Args:
        engine: is started; its model is loaded at the first question.
        most_frames: of a video, whatever an agent asks for.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        request: Request,
        engine: Engine,
        most_frames: int,
    ) -> None:
        self._roots, self._request = tuple(roots), request
        self._engine, self._most_frames = engine, most_frames

    def ask(
        self,
        video: str,
        question: str,
        part: Part,
        report: Report,
        cancelled: threading.Event,
        *,
        choices: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        method: str | None = None,
        frames: int | None = None,
    ) -> Answer:
        """The answer to a question about a video."""
        path = file_below(self._roots, video)
        self._load(question, report)
        request = self._request
        generation = request.generation
        if choices:
            generation = replace(generation, typed=TypedOptions(tuple(choices)))
        if schema is not None:
            generation = replace(generation, structured=StructuredOutput.from_schema(schema))
        chosen = request.method if method is None else parse_spec(method, "method").create()
        if chosen != request.method:
            request = request.with_method(chosen)
        frames = None if frames is None else min(frames, self._most_frames)
        sampling = _sampling(request.sampling, part, frames)
        status = path.stat()
        # An overwritten file is another video.
        identity = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        shown = Footage(str(path), path.name, shown_as=path.name, identity=identity)
        asked = replace(request, sampling=sampling, generation=generation)
        return _answered(self._engine, Ask(question, asked, (shown,)), report, cancelled)

    def when(
        self,
        video: str,
        question: str,
        part: Part,
        report: Report,
        cancelled: threading.Event,
        *,
        every_s: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Time ranges in which the answer to a question is yes, as of `dycoke ask --when`.

        Args:
            every_s: length of the windows in seconds; None for the usual one.
            more: see `ask`.
        """
        info, sampling = self.probe(video, part), _sampling(self._request.sampling, part)
        if len(info["frames_read_at_s"]) == 1 and sampling.frames > 1:
            if (sampling.start_s, sampling.end_s) != (None, None):
                raise UsageError(f"{video} has one frame in this part: name a longer one")
            raise UsageError(f"{video} is a still picture: when needs a video")
        self._load(question, report)
        done = count(1)

        def ask(question: str, window: tuple[float, float] | None) -> Answer:
            more["choices"] = ("yes", "no")
            # Of each by itself nothing is reported; how many are to come depends on what is found.
            answer = self.ask(video, question, window or part, lambda *_: None, cancelled, **more)
            report("decode", number := next(done), number + 1)
            return answer

        found = find_when(ask, lambda: info["duration_s"], sampling, question, every_s)
        ranges = [to_dict(one) for one in found.when] if isinstance(found.when, tuple) else []
        return {"answer": found.answer, "when": ranges, "warnings": list(found.warnings)}

    def probe(self, video: str, part: Part) -> dict[str, Any]:
        """What is stored of a video, and the times of the frames that a question would read."""
        path = file_below(self._roots, video)
        sampling = _sampling(self._request.sampling, part)
        with (
            Decoder(self._request.limits) as decoder,
            decoder.open(str(path), sampling, shown_as=path.name) as opened,
        ):
            plan = opened.plan
        return {**to_dict(plan.info), "frames_read_at_s": [round(t, 3) for t in plan.times_s]}

    def frames(self, video: str, part: Part, count: int) -> list[tuple[float, bytes]]:
        """A few frames of a video: the time of each in seconds, and a JPEG."""
        from PIL import Image

        path = file_below(self._roots, video)
        with Decoder(self._request.limits) as decoder:
            clip = decoder.read(str(path), _sampling(Sampling(), part, count), shown_as=path.name)
        pictures = []
        for time_s, frame in zip(clip.timestamps_s, clip.frames, strict=True):
            file, picture = io.BytesIO(), Image.fromarray(frame)
            picture.thumbnail((_PICTURE_PX, _PICTURE_PX))
            picture.save(file, "JPEG", quality=_QUALITY)
            pictures.append((time_s, file.getvalue()))
        return pictures

    def _load(self, question: str, report: Report) -> None:
        """Load the model for a question unless that is done; others wait for the same loading."""
        if not question.strip():
            raise UsageError("a question is empty")
        report("load", 0, 1)
        self._engine.call(lambda loaded: None)
        report("load", 1, 1)


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
