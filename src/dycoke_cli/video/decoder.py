"""Decoding of untrusted videos in a separate, sandboxed process.

An untrusted video may crash, hang or compromise its decoder. So files are opened here and passed to
the process (`decoder_process`) as descriptors, which needs no access to files. It has limits of
time and memory, and everything that it sends is validated (`decoded_clip`). Each video has a
process of its own: one that takes its decoder over sees no other video, and can't change what is
read of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.errors import DycokeError, VideoError, check_kind
from dycoke_cli.processes.isolated import Isolated
from dycoke_cli.processes.sandbox import Mechanism
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.retries import MAX_ATTEMPTS
from dycoke_cli.unicode import display_name
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoded_clip import (
    CrashedError,
    LateVideoError,
    OpenClip,
)
from dycoke_cli.video.file_names import STDIN, STDIN_NAME
from dycoke_cli.video.info import VideoInfo
from dycoke_cli.video.kept_frames import Fit
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.open_file import open_file
from dycoke_cli.video.pictures import PictureReader, Source, pictures_of
from dycoke_cli.video.rendered import Rendered
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.stdin import spooled
from dycoke_cli.video.subtitles import SubtitleSource, open_subtitles

PROCESS = "dycoke_cli.video.decoder_process:serve"
PREPARE = "dycoke_cli.video.decoder_process:prepare"
_SAMPLING = Sampling()


def sandbox() -> tuple[Mechanism, ...]:
    """The mechanisms that isolate a decoder here; starts one."""
    process = Isolated(PROCESS, PREPARE)
    try:
        process.await_ready()
        means: tuple[Mechanism, ...] = from_dict(tuple[Mechanism, ...], process.ready["sealed"])
        return means
    except GoneError as error:
        raise VideoError("the process that reads videos can't be started here") from error
    finally:
        process.stop()


def info_of(
    video: Source | Rendered, sampling: Sampling, limits: Limits, shown_as: str | None = None
) -> VideoInfo | None:
    """What is known of a video without reading it; None where it can't be opened.

    Args:
        sampling: has its stream, and the rate of raw ones and of pictures.
    """
    one = Sampling(
        frames=1,
        stream=sampling.stream,
        input_fps=sampling.input_fps,
        picture_fps=sampling.picture_fps,
    )
    try:
        with Decoder(limits) as decoder, decoder.open(video, one, shown_as=shown_as) as opened:
            return opened.plan.info
    except DycokeError:
        return None


class Decoder:
    """Decoder of one video at a time, each in a process of its own.

    A context manager, which stops the process at the end.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._process: Isolated | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Isolated:
        """Start the process ahead of the next video, so that its imports run in parallel."""
        if self._process is None:
            self._process = Isolated(PROCESS, PREPARE)
        return self._process

    def stop(self) -> None:
        """Kill the process; the next video has another one anyway."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    @contextmanager
    def open(
        self,
        video: Source | Rendered,
        sampling: Sampling,
        *,
        subtitles: SubtitleSource | None = None,
        shown_as: str | None = None,
        admit: Callable[[int], None] = lambda needed: None,
        fitted: bool = False,
        most_pixels: int | None = None,
    ) -> Iterator[OpenClip | PictureReader]:
        """Open a video and plan its frames; the process ends with the block.

        Args:
            subtitles: to read with them, or None.
            shown_as: name for errors and warnings; None for the escaped path.
            admit: called with the bytes that the next stage needs, before they are allocated, and
                blocks until they are available. Once for decoding the first frame, then for all.
        """
        try:
            pictures = None if video == STDIN else pictures_of(video, shown_as)
            if pictures is not None:
                shown = {}
                if isinstance(video, tuple) and shown_as is not None:
                    shown = {one: f"{shown_as} (frame {n})" for n, one in enumerate(video, 1)}
                one = self._one_of_many(admit, shown, most_pixels)
                one = video.read_one if isinstance(video, Rendered) else one
                yield PictureReader(pictures, sampling, one, admit, subtitles, fitted=fitted)
                return
            assert isinstance(video, str), "several paths are pictures"
            name = shown_as or (STDIN_NAME if video == STDIN else display_name(video))
            opened = OpenClip(self.start(), self.stop, name, self._limits, admit)
            more = {"fitted": fitted, "most_pixels": most_pixels}
            with self._begun(opened, video, name, sampling, subtitles, **more):
                yield opened
        finally:
            self.stop()

    @contextmanager
    def _begun(
        self,
        opened: OpenClip,
        video: str,
        name: str,
        sampling: Sampling,
        subtitles: SubtitleSource | None = None,
        **more: Any,
    ) -> Iterator[None]:
        """Open the files and plan; within the block, the frames can be read."""
        with ExitStack() as stack:
            file = stack.enter_context(spooled() if video == STDIN else open_file(video, name))
            files = [file]
            if subtitles is not None and subtitles.path is not None:
                files.append(stack.enter_context(open_subtitles(subtitles.path)))
            try:
                opened.begin(files, sampling, subtitles, **more)
                yield
            finally:
                opened.end()

    def _one_of_many(
        self, admit: Callable[[int], None], shown: Mapping[str, str], most_pixels: int | None
    ) -> Callable[[str, Sampling], Clip]:
        """Reader of single images, which share one time limit; `shown` names them in errors."""
        left_s = self._limits.time_limit

        def read(picture: str, sampling: Sampling) -> Clip:
            nonlocal left_s, admit
            name = shown.get(picture) or display_name(picture)
            opened = OpenClip(self.start(), self.stop, name, self._limits, admit, left_s)
            with self._begun(opened, picture, name, sampling, most_pixels=most_pixels):
                clip = opened.read()
            # Only the first image is admitted by itself; `PictureReader` admits the others at once.
            left_s, admit = opened.left_s, lambda needed: None
            return clip

        return read

    def digest(self, path: str) -> str:
        """Hash a file, or the pictures of a folder, in the process, which goes on for the next.

        So a file whose read never returns ends at the time limit. Nothing is decoded, so one
        process hashes any number of files. `stop` in another thread ends it.

        Returns:
            SHA-256 in hexadecimal. That of a folder is of the names and digests of its pictures.
        """
        pictures = pictures_of(path)
        if pictures is None:
            return self._digest(path, self._limits.time_limit)[0]
        each, left_s = list[tuple[str, str | None]](), self._limits.time_limit
        for picture in pictures.paths:
            digest = None
            try:
                digest, left_s = self._digest(picture, left_s)
            except LateVideoError:
                raise
            except VideoError:  # raised again if it is read
                pass
            each.append((os.path.basename(picture), digest))
        return hashlib.sha256(repr(each).encode("utf-8", "surrogateescape")).hexdigest()

    def _digest(self, path: str, left_s: float, attempt: int = 1) -> tuple[str, float]:
        """Digest of a file, and what is left of the time.

        Without a digest the file would have another key, so a process that is killed is replaced.
        """
        name, process = display_name(path), self.start()
        with open_file(path, name, may_be_empty=True) as file:
            opened = OpenClip(process, self.stop, name, self._limits, lambda needed: None, left_s)
            try:
                return opened.digest(file), opened.left_s
            except CrashedError:
                if attempt == MAX_ATTEMPTS or self._process is not process:  # it was stopped
                    raise
            finally:
                opened.end()
        return self._digest(path, left_s, attempt + 1)

    def read(
        self,
        video: Source | Rendered,
        sampling: Sampling,
        *,
        fit: Future[Fit] | None = None,
        **more: Any,
    ) -> Clip:
        """Read the frames of a video.

        `fit` is that of `OpenClip.read`; other arguments and errors are those of `open`.
        """
        with self.open(video, sampling, fitted=fit is not None, **more) as opened:
            return opened.read(fit=fit)


def read(
    path: str | os.PathLike[str] | tuple[str, ...] | Rendered,
    sampling: Sampling = _SAMPLING,
    *,
    shown_as: str | None = None,
    subtitles: SubtitleSource | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clip:
    """Read frames of a video, in a sandboxed process.

    Args:
        path: of a file, or of a folder of images; or paths of images, which are the frames; or a
            rendered video.
        sampling: frames to read.
        shown_as: name for errors and warnings; None for the escaped path.
        subtitles: to read with the frames, as found by `find_source`; None for none.
        on_progress: called after each frame with the number of frames read and planned (fewer may
            be read).

    Raises:
        VideoError: the file doesn't exist, isn't a video, or is too large.
        UsageError: the sampling doesn't fit the video (start beyond its end, no such stream), or
            the subtitles can't be read.
        OutOfMemoryError: there isn't enough memory for the frames.
    """
    check_kind(sampling, Sampling, "sampling is an object such as Sampling(frames=8)")
    video = path if isinstance(path, (tuple, Rendered)) else os.fspath(path)
    with (
        Decoder() as decoder,
        decoder.open(video, sampling, shown_as=shown_as, subtitles=subtitles) as opened,
    ):
        return opened.read(on_progress)
