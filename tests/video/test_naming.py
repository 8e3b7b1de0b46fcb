from __future__ import annotations

import os
from pathlib import Path

import pytest

from dycoke_cli.video import display_name


@pytest.mark.parametrize(
    "name",
    ["clip.mp4", "-x.mp4", "my clip.mp4", "Übung.mov", "映画.mp4", "🎬👩‍🚀.mp4", "[red].mp4"],
)
def test_ordinary_names_are_shown_as_they_are(name: str) -> None:
    assert display_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.mp4", r"a\nb.mp4"),
        ("a\tb", r"a\tb"),
        ("\x1b[31mred\x1b[0m.mp4", r"\x1b[31mred\x1b[0m.mp4"),
        ("a\x9bb", r"a\x9bb"),
        ("gpj\u202e4pm", r"gpj\u202e4pm"),
        ("a\u2028b", r"a\u2028b"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
    ],
)
def test_what_could_move_the_cursor_is_escaped(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_paths_and_bytes_are_names_too() -> None:
    assert display_name(Path("a") / "b\r.mp4") == r"a/b\r.mp4"
    assert display_name(b"a\xff") == r"a\xff"
