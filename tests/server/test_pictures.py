"""Pictures of a request, read as a server reads them: frames, times, and names in errors."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.errors import VideoError
from dycoke_cli.server.chat_request import parse
from dycoke_cli.video import Clip
from tests.server.test_chat_request import DEFAULTS
from tests.server.test_media_options import clips_of

MOST = 8


def encoded(number: int, kind: str) -> str:
    """A grey picture, brighter by its number, as base64."""
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 16 * number, np.uint8)).save(file, kind)
    return b64encode(file.getvalue()).decode()


def part(content: str, kind: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{content}"}}


def clips(*parts: dict[str, Any], **about: Any) -> tuple[Clip, ...]:
    """The clips of a request about these parts."""
    content = [*parts, {"type": "text", "text": "What?"}]
    body = {
        "messages": [{"role": "user", "content": content}],
        "media_io_kwargs": {"video": about},
    }
    return clips_of(parse(json.dumps(body).encode(), DEFAULTS, MOST))


def brightness(clip: Clip) -> list[int]:
    return [round(frame.mean() / 16) for frame in clip.frames]


def test_pictures_of_any_type_are_frames_a_second_apart() -> None:
    kinds = ("png", "jpeg", "webp")
    [clip] = clips(*(part(encoded(n, kind), kind) for n, kind in enumerate(kinds)))
    assert brightness(clip) == [0, 1, 2]
    assert clip.timestamps_s == pytest.approx((0, 1, 2))
    assert clip.info.duration_s == 3
    assert not clip.warnings


def test_pictures_have_the_times_of_the_request() -> None:
    parts = [part(encoded(n, "png"), "png") for n in range(3)]
    [clip] = clips(*parts, fps=1000, frames_indices=[500, 900, 4000], num_frames=-1)
    assert clip.timestamps_s == pytest.approx((0.5, 0.9, 4))


def test_pictures_are_what_a_list_of_jpegs_is() -> None:
    """Also of more than the server allows: the same ones are chosen."""
    jpegs = [encoded(n, "jpeg") for n in range(15)]
    [pictures] = clips(*(part(jpeg, "jpeg") for jpeg in jpegs))
    video = {"type": "video_url", "video_url": f"data:video/jpeg;base64,{','.join(jpegs)}"}
    [listed] = clips(video)
    assert len(pictures.frames) == MOST
    assert np.array_equal(pictures.frames, listed.frames)
    assert pictures.timestamps_s == listed.timestamps_s


def test_a_text_between_pictures_divides_them() -> None:
    parts = [part(encoded(n, "png"), "png") for n in range(3)]
    first, second = clips(parts[0], {"type": "text", "text": "then"}, *parts[1:])
    assert (brightness(first), brightness(second)) == ([0], [1, 2])


def test_no_error_and_no_warning_has_a_path_of_the_server() -> None:
    good, bad = part(encoded(1, "png"), "png"), part(b64encode(b"nothing").decode(), "png")
    with pytest.raises(VideoError, match=r"the video \(frame 2\)") as caught:
        clips(good, bad)
    assert "/tmp" not in str(caught.value)
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 4), 128, np.uint8)).save(file, "png")
    seen_through = part(b64encode(file.getvalue()).decode(), "png")
    [clip] = clips(good, seen_through)
    assert any("the video" in warning for warning in clip.warnings)
    assert not any("/tmp" in warning for warning in clip.warnings)
