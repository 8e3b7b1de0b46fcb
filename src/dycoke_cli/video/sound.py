"""The sound of an open video, which its process decodes after the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import av
import numpy as np

from dycoke_cli.video.limits import MAX_SAMPLES, RATE

if TYPE_CHECKING:
    from dycoke_cli.video.source import VideoSource

# Of telephones and studios: at lower rates nobody is understood, and higher ones take forever.
_LOWEST, _HIGHEST = 4_000, 768_000
# Longer gaps between time stamps are pauses of a recording, and shorter ones are rounded times.
_GAP = RATE // 10
_LEAD_S = 1  # decoded before the part: some codecs begin with a fade


def sound(
    source: VideoSource, part_s: tuple[float, float], notes: list[str]
) -> Iterator[np.ndarray]:
    """Yield the sound of a part, mono and without a gap, in pieces `[N]`, float32, at `RATE`.

    `notes` receives what is to be said of it; each follows the name of the video.
    """
    start_s, end_s = part_s
    source.rewind()
    stream = cast("av.AudioStream | None", source.container.streams.best("audio"))
    if stream is None or (context := stream.codec_context) is None:
        notes.append("has no sound track" if stream is None else "has sound of an unknown codec")
        return
    if not _LOWEST <= context.sample_rate <= _HIGHEST:
        rates = f"and speech is heard at {_LOWEST} to {_HIGHEST}"
        notes.append(f"has sound of {context.sample_rate} samples per second, {rates}")
        return
    # Numbers of samples, from the start of the part: its end, and the next to send.
    length, at = round((end_s - start_s) * RATE), 0
    resampler, damaged = av.AudioResampler("flt", "mono", RATE), 0
    for packet in source.demux(stream):
        time_s = source.packet_time(packet)
        if time_s is not None and time_s < start_s - _LEAD_S:
            continue
        if at >= length:
            break
        try:
            resampled = [(one, resampler.resample(one)) for one in context.decode(packet)]
        except MemoryError:  # FFmpeg's own is an FFmpegError, too, but not a damaged packet
            raise
        except (av.FFmpegError, OSError, ValueError):
            damaged += 1
            continue
        for frame, found in resampled:
            first = at
            if frame.pts is not None and frame.time_base:
                time_s = frame.pts * frame.time_base - source.packet_origin
                first = round((float(time_s) - start_s) * RATE)
            at = first if first < 0 else max(at, 0)
            while (silence := min(first, length) - at) > _GAP:
                yield np.zeros(silence := min(silence, MAX_SAMPLES), np.float32)
                at += silence
            for each in found:
                samples = each.to_ndarray()[0][max(0, -at) : max(0, length - at)]
                for begin in range(0, len(samples), MAX_SAMPLES):
                    yield samples[begin : begin + MAX_SAMPLES]
                at += each.samples
    if damaged:
        what = "1 packet" if damaged == 1 else f"{damaged} packets"
        notes.append(f"has {what} of sound that can't be decoded to one channel, left out")
