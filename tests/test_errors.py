"""What a mistyped name must mean."""

from __future__ import annotations

import pytest

from dycoke_cli.errors import closest

FLAGS = ("--frames", "--max-frames", "--fps", "--positions", "--choices", "--merge-ratio")


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("--framse", FLAGS, "--frames"),  # swapped
        ("--frame", FLAGS, "--frames"),  # missing
        ("--framess", FLAGS, "--frames"),  # too much
        ("--merge_ratio", FLAGS, "--merge-ratio"),
        ("--Frames", FLAGS, "--frames"),
        ("mimi", ("mini", "maxmin"), "mini"),
        # The first that it begins.
        ("llava", ("qwen2-vl-2b", "llava-next", "llava-onevision-7b"), "llava-next"),
        ("table-1", ("table-2", "table-1-7b"), "table-1-7b"),
        # Alike in letters, and another thing.
        ("--num-frames", FLAGS, None),
        ("--options", FLAGS, None),
        ("samples", ("shapes", "videomme"), None),
        ("mine", ("maxmin",), None),
        ("-v", ("-q", "-h"), None),
        ("", ("a", "b"), None),
        ("a", (), None),
        # As a client may send it: comparing all letters took minutes.
        ("a" * 10**6, FLAGS, None),
    ],
)
def test_a_typing_error_away(name: str, known: tuple[str, ...], meant: str | None) -> None:
    assert closest(name, known) == meant
