"""Main loop of the process that decodes a live source: sends the frames of its windows.

It reads a pipe, and is sealed before the first byte. FFmpeg itself connects to an RTSP address:
that process is sealed once the stream is open. A capture device needs system calls that the
sandbox forbids; its process isn't sealed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from fractions import Fraction
from io import FileIO
from math import inf
from typing import Any, cast

import numpy as np

from dycoke_cli.processes.isolated import Channel
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.video.clip import Plan
from dycoke_cli.video.color import Geometry, to_rgb
from dycoke_cli.video.decode import Seeker, nearest_frames
from dycoke_cli.video.decoder_process import continues, errors_sent, prepare
from dycoke_cli.video.live.live_source import LiveSource, Opening
from dycoke_cli.video.probe import describe
from dycoke_cli.video.sampling import Sampling, Window, exact, wanted_times, window
from dycoke_cli.video.viewing import Remarks, viewable

ALIVE_EVERY_S = 1.0


def serve(channel: Channel) -> None:
    """Decode a source until it ends, or the other end of the channel is closed."""
    prepare()
    channel.send({})
    request, files = channel.receive()
    with errors_sent(channel, request["name"]), ExitStack() as stack:
        _serve(channel, request, files, stack)


def _serve(channel: Channel, request: dict[str, Any], files: list[int], stack: ExitStack) -> None:
    opening = request["opening"] and Opening(**request["opening"])
    sealed = seal() if opening is None else ()
    sampling = Sampling(**request["sampling"])
    pipe = opening or stack.enter_context(FileIO(files[0]))
    source = LiveSource(
        pipe, sampling.stream, request["name"], sampling.input_fps, on_packet=_pulse(channel)
    )
    stack.enter_context(closing(source))
    if opening is not None and not request["is_device"]:
        sealed = seal()
    needs = {"needs": source.decoding_bytes, "size": source.stored_size}
    channel.send({**needs, "sealed": sealed})
    if not continues(channel):
        return
    info, geometry = describe(source)
    every = exact(cast(float, sampling.end_s))
    times = np.array(wanted_times(sampling, _part(source, sampling, Fraction(0)))[0], np.float64)
    # Its end isn't known.
    info = replace(info, duration_s=None, frame_count=None)
    width, height = geometry.shown_size
    of_rate = source.rate.warning(source.name)
    warnings = () if of_rate is None else (of_rate,)
    plan = Plan((), width, height, info, warnings, len(times) * width * height * 3)
    without_times = asdict(plan)
    del without_times["times_s"]
    channel.send({"plan": without_times, "times": len(times)}, times)
    if continues(channel):
        _send_windows(channel, source, geometry, sampling, every)


def _send_windows(
    channel: Channel, source: LiveSource, geometry: Geometry, sampling: Sampling, every: Fraction
) -> None:
    """Send the frames of each window, then its times; windows without frames are skipped."""
    seeker = Seeker(source)
    begin = Fraction(0)
    while (after := seeker.around(begin)[1]) is not None:
        begin += (after.time_s - begin) // every * every
        part = _part(source, sampling, begin)
        last, remarks = begin, Remarks(source, geometry)
        for found in nearest_frames(seeker, wanted_times(sampling, part)[0], part):
            picture = viewable(source, found)
            remarks.add(picture)
            rgb = to_rgb(picture.frame, geometry)
            channel.send({"time_s": float(picture.time_s)}, np.ascontiguousarray(rgb))
            last = picture.time_s
        end = begin + every
        if seeker.ended:
            end = min(end, last + source.interval)
        times = [float(begin), float(end)]
        warnings = remarks.warnings()
        channel.send({"window": times, "position": source.position, "warnings": warnings})
        source.damaged.clear()
        begin += every
    channel.send({"ended": source.ending})


def _part(source: LiveSource, sampling: Sampling, begin: Fraction) -> Window:
    """Part of the video that a window is, as `--start` and `--end` would name it."""
    end = begin + exact(cast(float, sampling.end_s))
    named = replace(sampling, start_s=float(begin), end_s=float(end))
    return window(named, inf, inf, source.interval)


def _pulse(channel: Channel) -> Callable[[], None]:
    """Tell the parent now and then that packets come."""
    last_s = time.monotonic()

    def pulse() -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= ALIVE_EVERY_S:
            last_s = time.monotonic()
            channel.send({"alive": True})

    return pulse
