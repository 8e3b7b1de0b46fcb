"""`python camera.py | …`: in place of `ffmpeg -i rtsp://…`, a camera that films until it ends.

It writes MPEG-TS to stdout, at the speed at which it films.
"""

from __future__ import annotations

import signal
import sys
import time
from fractions import Fraction
from itertools import count

import av

RATE = 25
"""Frames per second."""


def main() -> None:
    """Write frames, each when it is due."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ends where nobody reads, as other programs do
    options = {"flush_packets": "1"}
    begun = time.monotonic()
    with av.open(sys.stdout.buffer, "w", format="mpegts", container_options=options) as container:
        stream = container.add_stream("mpeg2video", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        frame = av.VideoFrame(320, 240, "yuv420p")
        for number in count():
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            sys.stdout.flush()
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))


if __name__ == "__main__":
    main()
