"""Videos read in the process of the test, without a sandbox: its limits can be changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from dycoke_cli.unicode import display_name
from dycoke_cli.video.clip import Clip, FramePlan, VideoInfo
from dycoke_cli.video.decoder_process import Reader
from dycoke_cli.video.files import open_file
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.pictures import PictureReader, Rendered, pictures_of
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.source import VideoSource
from dycoke_cli.video.subtitles import Subtitles, SubtitleSource, open_subtitles, parse_subtitles

SAMPLING = Sampling()
Path = str | os.PathLike[str]
Progress = Callable[[int, int], None] | None


@contextmanager
def open_video(path: Path, stream: int | None = None) -> Iterator[VideoSource]:
    name = display_name(path)
    with open_file(path, name) as file, closing(VideoSource(file, stream, name)) as source:
        yield source


def probe(path: Path, stream: int | None = None) -> VideoInfo:
    """What is known of a video whose first frame alone is decoded."""
    return plan(path, Sampling(frames=1, stream=stream)).info


@contextmanager
def opened(
    path: Path, sampling: Sampling, shown_as: str | None, subtitles: SubtitleSource | None = None
) -> Iterator[Reader]:
    name = shown_as or display_name(path)
    with ExitStack() as stack:
        files = [stack.enter_context(open_file(path, name))]
        if subtitles is not None and subtitles.path is not None:
            files.append(stack.enter_context(open_subtitles(subtitles.path)))
        source = stack.enter_context(closing(VideoSource(files[0], sampling.stream, name)))
        Limits().check_memory(name, source.stored_size, source.decoding_bytes)
        yield Reader(source, sampling, subtitles, *files[1:])


def plan(
    path: Path | tuple[str, ...] | Rendered,
    sampling: Sampling = SAMPLING,
    *,
    shown_as: str | None = None,
) -> FramePlan:
    of_pictures = pictures(path, sampling, shown_as)
    if of_pictures is not None:
        return of_pictures.plan
    assert not isinstance(path, (tuple, Rendered))
    with opened(path, sampling, shown_as) as reader:
        return reader.plan


def read(
    path: Path | tuple[str, ...] | Rendered,
    sampling: Sampling = SAMPLING,
    *,
    shown_as: str | None = None,
    subtitles: SubtitleSource | None = None,
    on_progress: Progress = None,
) -> Clip:
    of_pictures = pictures(path, sampling, shown_as, subtitles)
    if of_pictures is not None:
        return of_pictures.read(on_progress)
    assert not isinstance(path, (tuple, Rendered))
    with opened(path, sampling, shown_as, subtitles) as reader:
        planned = reader.plan
        frames, times = [], []
        for time, frame in reader.frames():
            frames.append(frame)
            times.append(time)
            if on_progress is not None:
                on_progress(len(times), len(planned.times_s))
        part = sampling.part_s(planned.info.duration_s)
        return Clip(np.stack(frames), tuple(times), planned.info, *reader.rest(), part)


def pictures(
    path: Path | tuple[str, ...] | Rendered,
    sampling: Sampling,
    shown_as: str | None,
    subtitles: SubtitleSource | None = None,
) -> PictureReader | None:
    found = path if isinstance(path, (tuple, Rendered)) else os.fspath(path)
    named = pictures_of(found, shown_as)
    if named is None:
        return None
    one = path.read_one if isinstance(path, Rendered) else read
    return PictureReader(named, sampling, one, subtitles=subtitles)


def read_subtitles(path: Path) -> Subtitles:
    with open_subtitles(path) as file:
        return parse_subtitles(file, display_name(path))
