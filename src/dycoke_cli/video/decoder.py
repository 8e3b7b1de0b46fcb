"""Reads videos in a process of its own, which is held to limits and believed nothing unchecked.

A video of a stranger may bring down, hang or take over what decodes it. Files are opened here; the
process (`decoder_process`) gets them open, and what it sends is checked in `open_clip`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from dycoke_cli.processes.isolated import Isolated
from dycoke_cli.unicode import display_name
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoded_clip import OpenClip
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.open_file import open_file
from dycoke_cli.video.pictures import PictureReader, Source, pictures_of
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.stdin import STDIN, STDIN_NAME, spooled
from dycoke_cli.video.subtitles import SubtitleSource, open_subtitles

PROCESS = "dycoke_cli.video.decoder_process:serve"


class Decoder:
    """A process that reads videos, one after the other. Closed at the end of a `with` statement.

    Args:
        limits: that each video is held to.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._process: Isolated | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Isolated:
        """Start the process, which otherwise waits until there is a video; it imports meanwhile."""
        if self._process is None:
            self._process = Isolated(PROCESS)
        return self._process

    def stop(self) -> None:
        """End the process, whatever it is doing; the next video starts another one."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    @contextmanager
    def open(
        self,
        video: Source,
        sampling: Sampling,
        *,
        subtitles: SubtitleSource | None = None,
        shown_as: str | None = None,
        admit: Callable[[int], None] = lambda needed: None,
    ) -> Iterator[OpenClip | PictureReader]:
        """Open a video and find the frames that `sampling` asks for.

        Args:
            video: a path (of a file, or of a folder of pictures), the paths of pictures, or STDIN.
            sampling: which frames.
            subtitles: that come with them, or None.
            shown_as: what to call the file in errors and warnings; its escaped path if None.
            admit: called with the bytes that reading takes, before they are taken: returns when
                they may be. First for the first picture, then for all of the frames.

        Raises:
            VideoError: it can't be read, or not within the limit of time.
            UsageError: the sampling doesn't fit, or the subtitles can't be read.
            OutOfMemoryError: that takes more memory than the limit.
            OutputError: a video on stdin can't be kept.
        """
        pictures = None if video == STDIN else pictures_of(video, shown_as)
        if pictures is not None:
            yield PictureReader(pictures, sampling, self._one_of_many(admit), admit, subtitles)
            return
        assert isinstance(video, str), "several paths are pictures"
        name = shown_as or (STDIN_NAME if video == STDIN else display_name(video))
        opened = OpenClip(self.start(), self.stop, name, self._limits, admit)
        with self._begun(opened, video, name, sampling, subtitles):
            yield opened

    @contextmanager
    def _begun(
        self,
        opened: OpenClip,
        video: str,
        name: str,
        sampling: Sampling,
        subtitles: SubtitleSource | None = None,
    ) -> Iterator[None]:
        """Within the block, the frames of a file are found."""
        with ExitStack() as stack:
            file = stack.enter_context(spooled() if video == STDIN else open_file(video, name))
            files = [file]
            if subtitles is not None and subtitles.path is not None:
                files.append(stack.enter_context(open_subtitles(subtitles.path)))
            try:
                opened.begin(files, sampling, subtitles)
                yield
            finally:
                opened.end()

    def _one_of_many(self, admit: Callable[[int], None]) -> Callable[[str, Sampling], Clip]:
        """Reads one picture after the other, all of them within the limit of time."""
        left_s = self._limits.time_limit

        def read(picture: str, sampling: Sampling) -> Clip:
            nonlocal left_s, admit
            name = display_name(picture)
            opened = OpenClip(self.start(), self.stop, name, self._limits, admit, left_s)
            with self._begun(opened, picture, name, sampling):
                clip = opened.read()
            # The others are admitted together, with their frames.
            left_s, admit = opened.left_s, lambda needed: None
            return clip

        return read

    def read(self, video: Source, sampling: Sampling, **more: Any) -> Clip:
        """Read the frames of a video. Arguments and errors are those of `open`."""
        with self.open(video, sampling, **more) as opened:
            return opened.read()


class Decoders:
    """Decoders for several threads: as many as read at once, each used again. Made as `Decoder`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._idle: list[Decoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for decoder in self._idle:
            decoder.stop()

    def read(self, video: Source, sampling: Sampling, **more: Any) -> Clip:
        """Read the frames of a video. Arguments and errors are those of `Decoder.open`."""
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = Decoder(self._limits)
        try:
            return decoder.read(video, sampling, **more)
        finally:
            self._idle.append(decoder)
