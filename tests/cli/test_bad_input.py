"""A video or a model that isn't one: one line that says so, and the exit code for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.video.decoder import OpenClip
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, Outcome, run_here

pytestmark = pytest.mark.usefixtures("fake")


def both_ways(video: str | Path, *flags: str) -> tuple[Outcome, dict[str, str]]:
    """The run as text, and the error of the run with --json; both fail alike, with one line."""
    text = run_here("ask", video, "What?", *flags)
    as_json = run_here("ask", video, "What?", *flags, "--json")
    assert text.out == ""
    assert text.code == as_json.code
    assert text.err == as_json.err
    assert len(text.err.splitlines()) == 1
    assert "Traceback" not in text.err
    document = as_json.object
    assert (document["video"], document["question"]) == (str(video), "What?")
    assert text.err == f"Error: {document['error']['message']}\n"
    return text, document["error"]


@pytest.mark.parametrize(
    "content", [b"", b"Dear diary,\nnothing moved today.\n", b"\0\0\0\x18ftyp"]
)
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.mp4"
    path.write_bytes(content)
    run, error = both_ways(path)
    assert (run.code, error["code"]) == (3, "video_unreadable")
    assert "diary.mp4" in run.err


def test_empty_stdin_and_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for video, flags, code, sentence in (
        ("-", (), 3, "stdin is empty"),
        (CLIP, ("--model", str(tmp_path)), 4, "has no weights"),
    ):
        run, _ = both_ways(video, *flags)
        assert run.code == code
        assert sentence in run.err


def test_model_and_video_are_looked_at_before_anything_is_loaded(fake: Fake) -> None:
    fake.failure = "model"
    assert "doesn't exist" in run_here("ask", "none.mp4", "What?").err
    assert "did you mean mini?" in run_here("ask", "none.mp4", "What?", "--model", "mimi").err


def test_frames_beyond_the_context_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenClip, "read", lambda *_: pytest.fail("it was decoded"))
    run = run_here("ask", CLIP, "What?", "--method", "maxmin", "--max-tokens", "100000")
    assert "make a prompt longer than the model's context" in run.refusal
