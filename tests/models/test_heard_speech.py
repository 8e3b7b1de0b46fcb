"""Real speech models hear what espeak-ng says, as `python -m tests.installs extras` tests it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.speech import can_speak, fetch, figures, hear
from dycoke_cli.storage.cache_folder import ENVIRONMENT

pytest.importorskip("faster_whisper", reason="the package faster-whisper isn't installed")


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(("model", "wrong"), [("tiny", 0.25), ("base", 0.15)])
def test_words_and_times(
    model: str, wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few words are wrong, and lines begin and end within half a second of the sentences."""
    if not can_speak():
        pytest.skip("espeak-ng isn't on this machine (apt-get install espeak-ng)")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    try:
        folder = fetch(model, tmp_path)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"the weights of Whisper {model} can't be fetched ({error})")
    found = figures(hear(model, str(folder)))
    assert found["wrong"] < wrong
    assert found["start"] < 0.6
    assert found["end"] < 0.5
