"""Videos whose frames are computed when they are read: none is stored, none is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.video.clip import Clip
from dycoke_cli.video.info import VideoInfo

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.sampling import Sampling


@dataclass(frozen=True)
class Rendered:
    """A rendered video. Its frames are sampled as pictures of a folder are, by `picture_fps`."""

    name: str  # for errors and warnings
    count: int  # number of frames
    # the frame of a number from 0 on, RGB uint8 [H, W, 3]. Called for the frames that are read, and
    # once more for the first of them. Picklable, since workers read videos.
    frame: Callable[[int], np.ndarray]

    def read_one(self, number: str, sampling: Sampling) -> Clip:
        """A frame as a video of one frame; the arguments are those of `PictureReader`'s reader."""
        picture = self.frame(int(number))
        height, width = picture.shape[:2]
        info = VideoInfo(
            path=self.name,
            container="rendered",
            stream=0,
            codec="none",
            width=width,
            height=height,
            rotation_deg=0,
            mirrored=False,
            pixel_aspect=1.0,
            fps=None,
            variable_rate=False,
            frame_count=1,
            duration_s=None,
            start_s=0.0,
            lead_s=0.0,
            timecode=None,
            pixel_format="rgb24",
            bit_depth=8,
            full_range=True,
            matrix="RGB",
            hdr=False,
            video_streams=(),
            audio_streams=0,
            audio=None,
            subtitle_streams=0,
        )
        return Clip(picture[None], (0.0,), info, ())
