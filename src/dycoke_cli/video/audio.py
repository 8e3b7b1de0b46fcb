"""Audio of an open video in the format of models: mono, at a given sampling rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from dycoke_cli.errors import VideoError
from dycoke_cli.video.containers import best_audio
from dycoke_cli.video.limits import MAX_AUDIO_BYTES
from dycoke_cli.video.sampling import Window
from dycoke_cli.video.source import VideoSource

_SAMPLE = np.dtype(np.float32)
# Decoders need some packets before the first exact sample.
_LEAD_S = 1.0
_GAP_S = 0.1
# Of a stored second. Resampling from other rates takes far more memory than the file has bytes.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000


def read_audio(source: VideoSource, rate: int, part: Window) -> np.ndarray | None:
    """Decode and resample the best audio stream; damaged packets are skipped.

    Args:
        rate: samples per second.
        part: part of the video to read, in seconds from its first frame.

    Returns:
        float32 `[T]` from -1 to 1, from the start of the part to its end or that of the audio, of
        at most `MAX_AUDIO_BYTES`; None if the part has no audio.
    """
    source.seek_roughly(float(part.first_s))
    stream = best_audio(source.container)
    if stream is None:
        return None
    length = min(round((part.end_s - part.first_s) * rate), MAX_AUDIO_BYTES // _SAMPLE.itemsize)
    audio = np.zeros(length, _SAMPLE)
    # Places in `audio`. Both may be negative: seeking ends before the part, and the samples before
    # it are cut off. If the audio begins later than the part, silence (zeros) comes first.
    start = end = stop = 0
    frames = _decoded(source, stream, float(part.first_s))
    for number, frame in enumerate(_resampled(frames, rate, source.name)):
        # The plain mean, as models were trained with; FFmpeg's downmix weighs channels.
        samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(1)
        time_s = _time_s(source, frame)
        place = round(((time_s or 0.0) - part.first_s) * rate)
        # The first time stamp counts, and one behind a gap. The others are rounded, and following
        # them would leave gaps of single samples.
        if number == 0:
            start = end = place
        elif time_s is not None and abs(place - end) > _GAP_S * rate:
            if place >= length:  # perhaps damaged
                continue
            end = place
        first, last = max(end, 0), min(end + len(samples), length)
        if first < last:
            audio[first:last] = samples[first - end : last - end]
        end += len(samples)
        stop = max(stop, end)
        if end >= length:
            break
    return audio[:stop] if stop > max(start, 0) else None


def _decoded(source: VideoSource, stream: Any, first_s: float) -> Iterator[av.AudioFrame | None]:
    for packet in source.demux(stream):
        time = source.packet_time(packet)
        # A file that can't be sought is read from its beginning.
        if time is not None and time < first_s - _LEAD_S:
            continue
        try:
            yield from stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError):
            continue
    yield None  # flushes the resampler


def _resampled(
    frames: Iterator[av.AudioFrame | None], rate: int, name: str
) -> Iterator[av.AudioFrame]:
    """Resample frames, whose format may change where parts of a file meet; None flushes.

    The samples of all channels are in one plane: of frames with a plane per channel, PyAV reads
    planes until it meets a zero, which may be behind the last one if there are eight or more.
    """
    resampler: av.AudioResampler | None = None
    made_for: tuple[str, str, int] | None = None
    for frame in frames:
        if frame is not None:
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != made_for:
                if resampler is not None:
                    yield from resampler.resample(None)
                if not _LOWEST_RATE <= frame.sample_rate <= _HIGHEST_RATE:
                    raise VideoError(
                        f"{name} has audio of {frame.sample_rate:,} samples per second, and from "
                        f"{_LOWEST_RATE:,} to {_HIGHEST_RATE:,} can be read: leave it out with "
                        "--no-audio"
                    )
                resampler, made_for = av.AudioResampler(format="flt", rate=rate), kind
        if resampler is not None:
            yield from resampler.resample(frame)


def _time_s(source: VideoSource, frame: av.AudioFrame) -> float | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base - source.origin)
