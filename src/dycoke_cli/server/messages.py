"""Messages of a request: questions with their answers, and videos with the frames that are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeGuard

from dycoke_cli import Sampling
from dycoke_cli.server.media import JPEGS
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_body import data_url
from dycoke_cli.server.request_keys import (
    IMAGE_IO,
    IMAGE_URL,
    INPUT_VIDEO,
    MEDIA_IO,
    MESSAGES,
    MM_PROCESSOR,
    PARTS,
    VIDEO_IO,
    VIDEO_URL,
    Keys,
    flag_of,
    list_of,
    object_of,
    options_of,
    text_of,
)

if TYPE_CHECKING:
    from dycoke_cli import Clip


_ALL_FRAMES = -1  # of vLLM's num_frames
# Above it, a float doesn't tell two indices apart.
_LARGEST = 2**53
_LATEST_S = 1e9
_PATH = "media_io_kwargs.video"


FRAMES_PER_SECOND = 25.0
"""Rate of pictures, until they are given the times of the request."""


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

    def applied(self, clip: Clip, count: int) -> Clip:
        """Give the JPEGs that were read, of so many, their times, and the whole video's metadata.

        Args:
            clip: as read, one picture each `1 / FRAMES_PER_SECOND` seconds.
        """
        numbers = [round(time_s * FRAMES_PER_SECOND) for time_s in clip.timestamps_s]
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


def _as_frames(given: Mapping[str, Any]) -> bool:
    """Whether a body has pictures that belong together as the frames of one video."""
    options = options_of(options_of(given, MEDIA_IO), IMAGE_IO)
    path = f"{IMAGE_IO.name}.as_frames"
    return options.get("as_frames") is None or flag_of(options, "as_frames", path)


def read_media(
    given: Mapping[str, Any], videos: Sequence[VideoPart], default: Sampling, most: int
) -> tuple[Sampling, JpegTimes]:
    """Which frames of a request's videos are read, and the times of JPEGs, by its body."""
    jpegs = bool(videos) and all(video.is_frames for video in videos)
    video = options_of(options_of(given, MEDIA_IO), VIDEO_IO)
    processor = options_of(given, MM_PROCESSOR)
    for name in ("num_frames", "fps"):
        same = processor.get(name)
        if same is not None and video.setdefault(name, same) != same:
            raise _refused(name, f"and mm_processor_kwargs.{name} differ: send one of them")
    for name in ("frames_indices", "total_num_frames", "duration"):
        if videos and not jpegs and video.get(name) is not None:
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


def _sampling(
    frames: int | None, fps: float | None, default: Sampling, most: int, jpegs: bool
) -> Sampling:
    if frames == _ALL_FRAMES or (jpegs and frames is None):
        frames = most
    if fps is not None:
        count = most if frames is None else min(frames, most)
        fps = min(float(fps), 1000.0)
        return replace(default, frames=Sampling.frames, fps=fps, max_frames=count)
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
    return Refused(f"{_PATH}.{name} {sentence}", f"{_PATH}.{name}")


Turns = list[tuple[str, str]]
"""Questions with their answers; the last one has an empty answer."""

_MOST_MESSAGES = 1000
_MOST_VIDEOS = 16
_OCTETS = ("", "application/octet-stream")  # types of a `data:` URL that say nothing
_LONGEST_LABEL, _MOST_WORDS = 80, 6  # of a picture
_WORD = re.compile(r"[^\W\d_]+")
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d\d(?:\.\d+)?)(?![\d:])")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|s|sec|secs|seconds?)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d.:]*(?:\s?(?:of|/)\s?\d+)?")


@dataclass(frozen=True)
class VideoPart:
    """A video of a message."""

    url: str  # data:, file: or http(s):; "" of pictures
    # urls of the pictures that are its frames; empty of all other videos
    pictures: tuple[str, ...] = ()
    times_s: tuple[float, ...] = ()  # of each picture, by its label; empty where they have none
    whole: bool = False  # whether its pictures are one video, whatever stands beside them

    @property
    def is_frames(self) -> bool:
        """Whether it is pictures or a list of JPEGs, which have no time of their own."""
        return bool(self.pictures) or data_url(self.url)[0] == JPEGS


Parts = Sequence[VideoPart | str]
"""Content of a message: videos and texts, in order."""


def turns_of(
    body: Mapping[str, Any], listed: str, before: str
) -> tuple[tuple[VideoPart, ...], Turns]:
    """The videos; and the questions with their answers, the last of which has none yet.

    No template of a video model is sure to have a place for a system message: it is put before the
    next question, or where it stands within one.

    Args:
        listed: key of the messages.
        before: text before the first question.
    """
    together, given_messages = _as_frames(body), enumerate(list_of(body.get(listed), listed))
    messages = [_message(message, f"{listed}[{number}]") for number, message in given_messages]
    if not 1 <= len(messages) <= _MOST_MESSAGES:
        raise Refused(f"there must be 1 to {_MOST_MESSAGES} messages")
    videos: list[VideoPart] = []
    turns: Turns = []
    between = "\n"
    open_turn = False
    for role, given in _in_a_row(messages):
        parts = _clips(given) if together and role == "user" else given
        shown = [part for part in parts if isinstance(part, VideoPart)]
        text = "\n".join(part for part in parts if isinstance(part, str) and part)
        if shown and role != "user":
            raise Refused("only messages of the user have videos")
        videos += shown
        if role == "assistant":
            if not turns:  # it greets
                turns, before, open_turn = [(before.strip(), "")], "", True
            if not open_turn:
                raise Refused("a message of the assistant must follow one of the user")
            turns[-1] = (turns[-1][0], text)
            open_turn = False
        elif open_turn:
            apart = "\n" if role == "user" else "\n\n"
            question = max(between, apart, key=len).join(filter(None, (turns[-1][0], text)))
            turns[-1], between = (question, ""), apart
        elif role == "user":
            turns.append((before + text, ""))
            before, between, open_turn = "", "\n", True
        elif text:
            before += f"{text}\n\n"
    if not open_turn:
        raise Refused("the last message must be of the user")
    if len(videos) > _MOST_VIDEOS:
        raise Refused(f"there may be {_MOST_VIDEOS} videos, not {len(videos)}")
    return tuple(videos), turns


def _in_a_row(messages: Iterable[tuple[str, Parts]]) -> Iterator[tuple[str, Parts]]:
    """The messages, with those of the user that follow each other as one."""
    for role, group in groupby(messages, key=itemgetter(0)):
        if role == "user":
            yield role, [part for _, parts in group for part in parts]
        else:
            yield from group


def _clips(parts: Parts) -> Parts:
    """The parts of a question, with pictures that belong together as the frames of one video.

    Consecutive pictures belong together, and so do those with labels that differ in their numbers
    alone (`Image 1:`, `<0.5 seconds>`). Labels aren't part of the question, unless it has no other
    text.
    """
    parts = [part for part in parts if isinstance(part, VideoPart) or part.strip()]
    found = _joined(parts, labels=True)
    return found if any(isinstance(part, str) for part in found) else _joined(parts, labels=False)


def _joined(parts: Parts, *, labels: bool) -> Parts:
    found: list[VideoPart | str] = []
    form = ""  # of the labels of the last video
    for part, following in zip_longest(parts, parts[1:]):
        if not _is_picture(part):
            found.append(part)
            continue
        # A text before several pictures is about all of them: "Describe these 3 frames:".
        labelled = labels and found and not _is_picture(following)
        label = str(found.pop()) if labelled and _is_label(found[-1]) else ""
        one = replace(part, times_s=_time_of(label))
        earlier = found[-1] if found else None
        together = not label or _form(label) == form
        if _is_picture(earlier) and together:
            found[-1] = _followed(earlier, one)
        else:
            found.append(one)
            form = _form(label)
    return found


def _is_picture(part: VideoPart | str | None) -> TypeGuard[VideoPart]:
    return isinstance(part, VideoPart) and bool(part.pictures) and not part.whole


def _is_label(part: VideoPart | str) -> bool:
    """Whether it labels the picture behind it: a number or a time with a few words, no sentence."""
    if not isinstance(part, str) or len(part) > _LONGEST_LABEL or not _NUMBER.search(part):
        return False
    text, words = part.strip(), len(_WORD.findall(_form(part)))
    ends = text.endswith((":", ">", "]", ")"))
    return words <= (_MOST_WORDS if ends else 1) and not {*"?!\n"} & {*text}


def _form(label: str) -> str:
    """A label without its numbers and times."""
    for numbers in (_CLOCK, _SECONDS, _NUMBER):
        label = numbers.sub("0", label)
    return label


def _time_of(label: str) -> tuple[float, ...]:
    """The time in seconds of a label; empty of one without a time."""
    if clock := _CLOCK.search(label):
        hours, minutes, seconds = clock.groups(default="0")
        return (int(hours) * 3600 + int(minutes) * 60 + float(seconds),)
    if found := _SECONDS.search(label):
        return (float(found[1]) / (1000 if found[2].lower() == "ms" else 1),)
    return ()


def _followed(earlier: VideoPart, part: VideoPart) -> VideoPart:
    """Pictures with one more; they have times only if each has one, in ascending order."""
    pictures, times_s = (*earlier.pictures, *part.pictures), (*earlier.times_s, *part.times_s)
    timed = len(times_s) == len(pictures) and [*times_s] == sorted(times_s)
    return replace(earlier, pictures=pictures, times_s=times_s if timed else ())


def _picture(given: Any, path: str) -> VideoPart:
    """A picture, as a video of one frame."""
    url = text_of(given, path)
    kind = data_url(url)[0]
    if not kind.startswith("image/") and kind not in _OCTETS:
        raise Refused(f"{path} must be a picture (data:image/jpeg;base64,…)", path)
    return VideoPart("", pictures=(url,))


def _part(given: Any, path: str) -> VideoPart | str:
    """A part of a message."""
    kind = object_of(given, path).get("type")
    if not isinstance(kind, str) or kind not in PARTS:
        raise Refused(
            "a part of a message must be text, video_url, input_video, video, image_url or image "
            "(consecutive pictures are the frames of one video)",
            path,
        )
    part = PARTS[kind].object(given, path)
    if "text" in kind:
        return text_of(part.get("text"), f"{path}.text")
    if kind == "input_json":
        return text_of(json.dumps(part.get("data"), ensure_ascii=False), f"{path}.data")
    kind = "image_url" if kind == "input_image" else kind
    name = "url" if part.get(kind) is None and "url" in part else kind
    content, path = part.get(name), f"{path}.{name}"
    if "image" in kind:
        return _picture(*_given_url(content, path, IMAGE_URL))
    if isinstance(content, list) and content and kind == "video":
        frames = [_picture(frame, f"{path}[{number}]") for number, frame in enumerate(content)]
        return VideoPart("", pictures=sum((f.pictures for f in frames), ()), whole=True)
    return VideoPart((_input_video if kind == "input_video" else _url)(content, path))


def _message(given: Any, path: str) -> tuple[str, Parts]:
    """The role of a message, and its parts."""
    role = object_of(given, path).get("role")
    if not isinstance(role, str) or role not in MESSAGES:
        raise Refused("the role of a message must be system, user or assistant", path)
    message = MESSAGES[role].object(given, path)
    return role, content_of(message.get("content"), f"{path}.content")


def content_of(given: Any, path: str) -> list[VideoPart | str]:
    """The parts of a message."""
    if given is None:
        return []
    if isinstance(given, str):
        return [text_of(given, path)]
    parts = enumerate(list_of(given, path))
    return [_part(part, f"{path}[{number}]") for number, part in parts]


def _url(given: Any, path: str, keys: Keys = VIDEO_URL) -> str:
    """Of `"video_url": "…"` or `{"url": "…"}`."""
    return text_of(*_given_url(given, path, keys))


def _given_url(given: Any, path: str, keys: Keys) -> tuple[Any, str]:
    """The value that is to be a URL, of an object or in place of one; and its path."""
    if not isinstance(given, Mapping):
        return given, path
    return keys.object(given, path).get("url"), f"{path}.url"


def _input_video(given: Any, path: str) -> str:
    """Of `"input_video": {"data": "BASE64"}` (llama.cpp), or with a url in place of data."""
    given = INPUT_VIDEO.object(given, path)
    if given.get("data") is None:
        return _url(given, path, INPUT_VIDEO)
    if given.get("url") is not None:
        raise Refused(f"{path} has data and a url: send one of them", path)
    data = text_of(given["data"], f"{path}.data")
    return data if data[:5].lower() == "data:" else f"data:video/mp4;base64,{data}"
