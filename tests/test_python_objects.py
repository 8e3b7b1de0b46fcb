"""Objects of another kind in Python get the sentence that names what is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dycoke_cli import DyCoke, VideoSession, read
from dycoke_cli.errors import UsageError
from tests.families.sessions import loaded_of
from tests.natural import Pictures, pan

PATHS = "read takes the path of a video or of a folder of pictures, or a tuple of their paths, not "
FRAMES = r"VideoSession takes the frames of a video, as read\(PATH\) returns"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"clip.mp4", "a bytes"),
        (["a.png"], "a list"),
        (np.zeros((2, 8, 8, 3), np.uint8), "a ndarray"),
        (("a.png", 3), "3"),
    ],
)
def test_what_can_be_read(given: Any, shown: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(given)
    assert str(raised.value) == PATHS + shown


def test_what_a_session_takes() -> None:
    model = loaded_of("llava_onevision")
    session = VideoSession(model, Pictures.of(pan(4)))
    none: Any = None
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: VideoSession(model, Path("clip.mp4")), FRAMES),  # type: ignore[arg-type]
        (lambda: VideoSession(model, np.zeros((2, 8, 8, 3))), FRAMES),  # type: ignore[arg-type]
        (lambda: session.ask(["What?"]), "a question is one text, not a list"),  # type: ignore[arg-type]
        (lambda: session.ask(none), "a question is one text, not a NoneType"),
    ]
    for make, sentence in refused:
        with pytest.raises(UsageError, match=sentence):
            make()
    assert session.ask("What?").method == session.ask("What?", DyCoke()).method


def test_a_method_that_is_never_attached_is_warned_about() -> None:
    model = loaded_of("llava_onevision").model
    made = [DyCoke()(model)]
    with pytest.warns(UserWarning, match="never attached: write `with DyCoke"):
        made.clear()
