"""Audio of an open video in the format of models: mono, at a given sampling rate."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dycoke_cli.video.containers import best_audio
from dycoke_cli.video.limits import MAX_AUDIO_BYTES
from dycoke_cli.video.sampling import Window
from dycoke_cli.video.source import VideoSource

_SAMPLE = np.dtype(np.float32)


def read_audio(source: VideoSource, rate: int, part: Window) -> np.ndarray | None:
    """Decode and resample the best audio stream; damaged packets are skipped.

    Args:
        source: an open, described video; its position changes.
        rate: samples per second.
        part: part of the video to read, in seconds from its first frame.

    Returns:
        float32 `[T]` from -1 to 1, from the start of the part to its end or that of the audio, of
        at most `MAX_AUDIO_BYTES`; None if the part has no audio.
    """
    _seek(source, float(part.first_s))
    stream = best_audio(source.container)
    if stream is None:
        return None
    length = min(round((part.end_s - part.first_s) * rate), MAX_AUDIO_BYTES // _SAMPLE.itemsize)
    audio = np.zeros(length, _SAMPLE)
    resampler = av.AudioResampler(format="fltp", rate=rate)
    # Places in `audio`. Both may be negative: seeking ends before the part, and the samples before
    # it are cut off. If the audio begins later than the part, silence (zeros) comes first.
    start = end = 0
    for number, frame in enumerate(_resampled(_decoded(source, stream), resampler)):
        # The plain mean, as models were trained with; FFmpeg's downmix weighs channels.
        samples = frame.to_ndarray().mean(0)
        # Only the first time stamp counts: later ones are rounded, and following them would leave
        # gaps of single samples.
        if number == 0:
            start = end = round((_time_s(source, frame) - part.first_s) * rate)
        first, last = max(end, 0), min(end + len(samples), length)
        if first < last:
            audio[first:last] = samples[first - end : last - end]
        end += len(samples)
        if end >= length:
            break
    return audio[:end] if end > max(start, 0) else None


def _seek(source: VideoSource, time_s: float) -> None:
    """Move to a packet before a time; to the first packet if the file can't be sought."""
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
    yield None  # flushes the resampler


def _resampled(
    frames: Iterator[av.AudioFrame | None], resampler: av.AudioResampler
) -> Iterator[av.AudioFrame]:
    for frame in frames:
        yield from resampler.resample(frame)


def _time_s(source: VideoSource, frame: av.AudioFrame) -> float:
    if frame.pts is None or frame.time_base is None:
        return 0.0
    return float(frame.pts * frame.time_base - source.origin)
