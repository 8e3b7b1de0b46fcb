"""The audio of an open video, as models take it: one channel at a given sample rate."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dycoke_cli.video.limits import MAX_AUDIO_BYTES
from dycoke_cli.video.sampling import Window
from dycoke_cli.video.source import VideoSource

_SAMPLE = np.dtype(np.float32)


def read_audio(source: VideoSource, rate: int, part: Window) -> np.ndarray | None:
    """Decode and resample the best audio stream; damaged packets are left out.

    Args:
        source: an open, described video; left somewhere else.
        rate: samples per second.
        part: of the video that is heard, in seconds from its first frame.

    Returns:
        float32 `[T]` from -1 to 1, from the start of the part up to its end or that of the audio,
        and no more than `MAX_AUDIO_BYTES`; None where there is no audio in it.
    """
    _go_to(source, part.first_s)
    stream = source.container.streams.best("audio")
    if stream is None:
        return None
    wanted = min(round((part.end_s - part.first_s) * rate), MAX_AUDIO_BYTES // _SAMPLE.itemsize)
    heard = np.zeros(wanted, _SAMPLE)
    resampler = av.AudioResampler(format="fltp", rate=rate)
    start = end = 0
    for at, frame in enumerate(_resampled(_decoded(source, stream), resampler)):
        samples = frame.to_ndarray().mean(0)  # as others mix; FFmpeg would weigh channels
        if at == 0:  # what comes behind follows without a gap
            start = end = round((_time_s(source, frame) - part.first_s) * rate)
        first, last = max(end, 0), min(end + len(samples), wanted)
        if first < last:
            heard[first:last] = samples[first - end : last - end]
        end += len(samples)
        if end >= wanted:
            break
    return heard[:end] if end > max(start, 0) else None


def _go_to(source: VideoSource, time_s: float) -> None:
    """To a packet before that time; to the first where it can't be sought."""
    source.rewind()
    if time_s <= 0:
        return
    try:
        source.container.seek(int((source.origin + Fraction(time_s)) * av.time_base))
    except (av.FFmpegError, OSError):
        source.rewind()


def _decoded(source: VideoSource, stream: Any) -> Iterator[av.AudioFrame | None]:
    for packet in source.demux(stream):
        try:
            yield from stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError):
            continue
    yield None  # asks the resampler for what it still holds


def _resampled(
    frames: Iterator[av.AudioFrame | None], resampler: av.AudioResampler
) -> Iterator[av.AudioFrame]:
    for frame in frames:
        yield from resampler.resample(frame)


def _time_s(source: VideoSource, frame: av.AudioFrame) -> float:
    if frame.pts is None or frame.time_base is None:
        return 0.0
    return float(frame.pts * frame.time_base - source.origin)
