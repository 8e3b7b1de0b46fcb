"""`media_io_kwargs` of a request: which frames are read, and the times of a list of JPEGs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    IMAGE_IO,
    MEDIA_IO,
    MM_PROCESSOR,
    VIDEO_IO,
    flag_of,
    ignore,
    options_of,
)
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.video import Clip

_ALL_FRAMES = -1  # of vLLM's num_frames
# Above it, a float doesn't tell two indices apart.
_LARGEST = 2**53
_LATEST_S = 1e9
_PATH = "media_io_kwargs.video"
_AUDIO = "use_audio_in_video"
_AUDIO_PATH = f"{MM_PROCESSOR.name}.{_AUDIO}"


@dataclass(frozen=True)
class JpegTimes:
    """Times of the JPEGs of a list, in vLLM's form (its pull request 40133)."""

    fps: float = 1.0  # indices per second
    # frame index of each JPEG in the video that it was cut from, ascending; None numbers the JPEGs
    indices: tuple[int, ...] | None = None
    total_frames: int | None = None  # of that video; None for one more than the last index
    duration_s: float | None = None  # of that video; None for its frames at that rate

    @classmethod
    def of(cls, times_s: Sequence[float]) -> JpegTimes:
        """Times in seconds, to the millisecond."""
        return cls(1000.0, tuple(round(time_s * 1000) for time_s in times_s))

    def applied(self, clip: Clip, numbers: Sequence[int], count: int) -> Clip:
        """Give the JPEGs that were read their times, and the metadata of the whole video.

        Args:
            numbers: `[F]`, of its JPEGs in the list.
        """
        indices = self.indices or range(count)
        if len(indices) != count:
            raise _refused(
                "frames_indices", f"has {len(indices)} indices for {count} JPEGs: send one for each"
            )
        if self.total_frames is not None and self.total_frames < count:
            raise _refused("total_num_frames", f"must be {count} or more, the number of JPEGs")
        total = max(self.total_frames or 0, indices[-1] + 1)
        times_s = tuple(indices[number] / self.fps for number in numbers)
        if times_s[-1] > _LATEST_S:
            raise _refused("fps", "is so low that the last JPEG would be years after the first")
        duration_s = total / self.fps if self.duration_s is None else self.duration_s
        info = replace(
            clip.info,
            fps=self.fps,
            frame_count=total,
            duration_s=max(duration_s, times_s[-1]),
            variable_rate=None,
        )
        return replace(clip, timestamps_s=times_s, info=info)


def as_frames(given: Mapping[str, Any]) -> bool:
    """Whether pictures that belong together are the frames of one video.

    Args:
        given: the body.
    """
    image = options_of(given, MEDIA_IO).get("image")
    options = {} if image is None else IMAGE_IO.object(image, IMAGE_IO.name)
    path = f"{IMAGE_IO.name}.as_frames"
    return options.get("as_frames") is None or flag_of(options, "as_frames", path)


def read_media(
    given: Mapping[str, Any], default: Sampling, most: int, jpegs: bool, files: bool
) -> tuple[Sampling, JpegTimes]:
    """Which frames are read, and the times of JPEGs.

    Args:
        given: the body.
    """
    found = options_of(given, MEDIA_IO).get("video")
    video = {} if found is None else VIDEO_IO.object(found, _PATH)
    processor = options_of(given, MM_PROCESSOR)
    for name in ("num_frames", "fps"):
        same = processor.get(name)
        if same is not None and video.setdefault(name, same) != same:
            raise _refused(name, f"and mm_processor_kwargs.{name} differ: send one of them")
    default = _listening(processor, default)
    for name in ("frames_indices", "total_num_frames", "duration"):
        if files and video.get(name) is not None:
            raise _refused(
                name, "is for pictures or a list of JPEGs (data:video/jpeg;base64,…); leave it out"
            )
    frames = _whole(video, "num_frames")
    fps = _number(video, "fps")
    if fps is not None and not fps > 0:
        raise _refused("fps", "must be above 0")
    if fps is not None and fps < 1 / _LATEST_S:
        raise _refused("fps", "is so low that the second frame would be years after the first")
    return _sampling(frames, fps, default, most, jpegs), _times(video, fps)


def _listening(processor: Mapping[str, Any], default: Sampling) -> Sampling:
    """With the audio of videos or without it, as a request says."""
    if processor.get(_AUDIO) is None:
        return default
    if not flag_of(processor, _AUDIO, _AUDIO_PATH):
        return replace(default, audio_rate=None)
    if default.audio is False:
        sentence = f"{_AUDIO_PATH} must be false: this server reads no audio"
        raise Refused(400, sentence, parameter=_AUDIO_PATH)
    if default.audio_rate is None:  # the model takes none
        ignore(_AUDIO_PATH)
    return default


def _sampling(
    frames: int | None, fps: float | None, default: Sampling, most: int, jpegs: bool
) -> Sampling:
    if frames == _ALL_FRAMES or (jpegs and frames is None):
        frames = most
    if fps is not None:
        count = most if frames is None else min(frames, most)
        return replace(default, fps=min(float(fps), 1000.0), max_frames=count)
    if frames is not None:
        return replace(default, frames=min(frames, most), fps=None, max_frames=None)
    if default.fps is not None:
        return replace(default, max_frames=min(default.max_frames or most, most))
    return replace(default, frames=min(default.frames, most))


def _times(video: Mapping[str, Any], fps: float | None) -> JpegTimes:
    indices = video.get("frames_indices")
    if indices is not None:
        whole = isinstance(indices, list) and all(
            type(one) is int and 0 <= one <= _LARGEST for one in indices
        )
        if not whole or not indices or indices != sorted(indices):
            raise _refused("frames_indices", "must be a list of ascending frame numbers")
    total = _whole(video, "total_num_frames")
    if total is not None and not 1 <= total <= _LARGEST:
        raise _refused("total_num_frames", f"must be from 1 to {_LARGEST}")
    duration_s = _number(video, "duration")
    if duration_s is not None and not 0 <= duration_s <= _LATEST_S:
        raise _refused("duration", f"must be 0 or more, and at most {_LATEST_S:g}")
    return JpegTimes(
        fps=1.0 if fps is None else min(fps, _LATEST_S),
        indices=None if indices is None else tuple(indices),
        total_frames=total,
        duration_s=duration_s,
    )


def _whole(video: Mapping[str, Any], name: str) -> int | None:
    value = video.get(name)
    if value is not None and type(value) is not int:
        raise _refused(name, "must be a number without a fraction")
    return value


def _number(video: Mapping[str, Any], name: str) -> float | None:
    value = video.get(name)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise _refused(name, "must be a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _refused(name: str, sentence: str) -> Refused:
    return Refused(400, f"{_PATH}.{name} {sentence}", parameter=f"{_PATH}.{name}")
