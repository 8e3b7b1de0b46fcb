"""What an encoder leaves of pictures."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np


def through_encoder(frames: np.ndarray, quality: int) -> np.ndarray:
    """Encodes pictures as H.264 and decodes them again.

    Args:
        frames: [F, H, W, 3] uint8; both sides even.
        quality: constant rate factor, 0 (lossless) to 51.

    Returns:
        The same shape and type.
    """
    kept = io.BytesIO()
    with av.open(kept, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 8)
        stream.options = {"crf": str(quality), "preset": "ultrafast", "threads": "1"}
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    kept.seek(0)
    with av.open(kept, "r") as coded:
        decoded = [f.to_ndarray(format="rgb24") for f in coded.decode(video=0)]
    return np.stack(decoded)
