"""Pictures of a request, read as a server reads them: frames, times, and names in errors."""

from __future__ import annotations

import io
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.errors import VideoError
from dycoke_cli.video.clip import Clip
from tests.cli.fake_engine import PATIENCE_S
from tests.server.pretended import make_service
from tests.server.requests import about as read
from tests.server.requests import clips_of

MOST = 8
MOVE = Path(__file__).parents[2] / "sample_videos" / "move.mp4"


def encoded(number: int, kind: str) -> str:
    """A grey picture, brighter by its number, as base64."""
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 16 * number, np.uint8)).save(file, kind)
    return b64encode(file.getvalue()).decode()


def part(content: str, kind: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{content}"}}


def clips(
    *parts: dict[str, Any], pixels: int = 2**40, most: int = MOST, **about: Any
) -> tuple[Clip, ...]:
    """The clips of a request about these parts; the frames of each may have so many pixels."""
    return clips_of(read(*parts, most=most, media_io_kwargs={"video": about}), pixels)


def test_pictures_of_any_type_are_frames_a_second_apart() -> None:
    kinds = ("png", "jpeg", "webp")
    [clip] = clips(*(part(encoded(n, kind), kind) for n, kind in enumerate(kinds)))
    assert [round(frame.mean() / 16) for frame in clip.frames] == [0, 1, 2]
    assert clip.timestamps_s == pytest.approx((0, 1, 2))
    assert clip.info.duration_s == 3
    assert not clip.warnings


def test_pictures_are_what_a_list_of_jpegs_is() -> None:
    """Also of more than the server allows: the same ones are chosen."""
    jpegs = [encoded(n, "jpeg") for n in range(15)]
    [pictures] = clips(*(part(jpeg, "jpeg") for jpeg in jpegs))
    video = {"type": "video_url", "video_url": f"data:video/jpeg;base64,{','.join(jpegs)}"}
    [listed] = clips(video)
    assert len(pictures.frames) == MOST
    assert np.array_equal(pictures.frames, listed.frames)
    assert pictures.timestamps_s == listed.timestamps_s


def test_no_error_and_no_warning_has_a_path_of_the_server() -> None:
    good, bad = part(encoded(1, "png"), "png"), part(b64encode(b"nothing").decode(), "png")
    with pytest.raises(VideoError, match=r"the video \(frame 2\)") as caught:
        clips(good, bad)
    assert "/tmp" not in str(caught.value)


def picture(size: tuple[int, int], kind: str, mode: str = "L") -> str:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp"])
def test_pictures_share_their_pixels(kind: str) -> None:
    """The larger one is refused by its header, and the others have their share."""
    small, large = (part(picture(size, kind), kind) for size in ((40, 30), (80, 60)))
    [clip] = clips(small, small, small, pixels=3 * 40 * 30)
    assert len(clip.frames) == 3
    sentence = r"\(frame 3\) has pictures of 80×60, above the limit of 0\.0012 megapixels: .* fewer"
    with pytest.raises(VideoError, match=sentence):
        clips(small, small, large, pixels=3 * 40 * 30)


def test_the_pixels_of_a_list_of_jpegs_are_those_that_are_shown() -> None:
    jpegs = ",".join([picture((40, 30), "jpeg")] * 10)
    listed = {"type": "video_url", "video_url": f"data:video/jpeg;base64,{jpegs}"}
    [clip] = clips(listed, pixels=2 * 40 * 30, num_frames=2)
    assert len(clip.frames) == 2
    with pytest.raises(VideoError, match="has pictures of 40×30, above the limit"):
        clips(listed, pixels=2 * 40 * 30 - 1, num_frames=2)


def test_the_pixels_of_a_video_are_those_of_its_frames() -> None:
    content = b64encode(MOVE.read_bytes()).decode()
    sent = {"type": "input_video", "input_video": {"data": content}}
    [clip] = clips(sent, num_frames=4)
    pixels = 4 * clip.info.width * clip.info.height
    assert len(clips(sent, pixels=pixels, num_frames=4)[0].frames) == 4
    with pytest.raises(VideoError, match=r"the video has pictures of .*, or read fewer frames"):
        clips(sent, pixels=pixels - 1, num_frames=4)


def test_many_large_pictures_are_refused_at_once() -> None:
    """250 of 30 megapixels, with what a request may have by default."""
    large = part(picture((6000, 5000), "png", "1"), "png")
    began = time.monotonic()
    with pytest.raises(VideoError, match=r"\(frame 1\) has .*: is it above the limit of 4\.29 meg"):
        clips(*[large] * 250, pixels=2**30, most=256)
    assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize(
    ("videos", "frames", "pixels"), [(1, 32, 2**30), (16, 256, 2**26), (2, 1024, 2**31)]
)
def test_what_a_request_may_have(videos: int, frames: int, pixels: int) -> None:
    """The videos of a request share it; more with a higher --frame-limit."""
    url = {"type": "video_url", "video_url": "file:///a.mp4"}
    service = make_service(Mock(), Mock(), most_frames=frames)
    allowance = service.allowance(read(*[url] * videos, most=frames))
    assert allowance.pixels == pixels
