"""Real speech models hear what espeak-ng says, as `python -m tests.installs extras` tests it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.speech import can_speak, fetch, figures, hear, write_film
from dycoke_cli.storage.cache_folder import ENVIRONMENT
from tests.cli.harness import run_here

pytest.importorskip("faster_whisper", reason="the package faster-whisper isn't installed")


def fetched(model: str, to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model, with a cache of its own; without either, the test is skipped."""
    if not can_speak():
        pytest.skip("espeak-ng isn't on this machine (apt-get install espeak-ng)")
    monkeypatch.setenv(ENVIRONMENT, str(to / "cache"))
    try:
        return fetch(model, to)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"the weights of Whisper {model} can't be fetched ({error})")


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(("model", "wrong"), [("tiny", 0.25), ("base", 0.15)])
def test_words_and_times(
    model: str, wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few words are wrong, and lines begin and end within half a second of the sentences."""
    found = figures(hear(model, str(fetched(model, tmp_path, monkeypatch))))
    assert found["wrong"] < wrong
    assert found["start"] < 0.6
    assert found["end"] < 0.5


@pytest.mark.slow
@pytest.mark.extended
def test_the_bundled_model_answers_from_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who Anna is the voice alone tells."""
    ears, film = fetched("tiny", tmp_path, monkeypatch), tmp_path / "film.mp4"
    how = ("--subtitles", "speech", "--speech-model", ears, "--frames", "8", "--method", "none")
    for thing, does in (("blue star", "moves up"), ("green square", "stays still")):
        write_film(film, "en-us", [(0.5, f"The {thing} is called Anna.")], "move.mp4")
        outcome = run_here("ask", film, "What does Anna do?", *how, "--json", "--no-server")
        assert outcome.code == 0, outcome.err
        assert outcome.objects[0]["answer"] == f"The {thing} {does}."
        assert outcome.objects[0]["subtitles"]["lines"] == 1
