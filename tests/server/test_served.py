"""`--server` and a real `dycoke serve` with the bundled model: answers are those given here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.harness import REAL, run_here, run_process
from tests.server.real import serving

ROOT = Path(__file__).parents[2]
MOVE = ROOT / "sample_videos" / "move.mp4"
# Pictures are sent as JPEGs, so only an answer that the model is sure of is the same in any case.
SURE = "What does the blue star do?"
METHODS = ("none", "ttm", "evs:retain=0.5", "dycoke-plus:retain=0.25", "dycoke")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no signals")]


def dycoke(*arguments: str | Path) -> str:
    """What a command that succeeds prints, in this process."""
    done = run_here(*arguments)
    assert done.code == 0, done.err
    return done.out


def as_process(*arguments: str | Path) -> str:
    """The same as a process of its own."""
    done = run_process(REAL, *arguments)
    assert done.code == 0, done.err
    return done.out


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serve")) as (url, _):
        yield url


@pytest.fixture(autouse=True)
def nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cache", "settings", "runtime"):
        monkeypatch.setenv(f"DYCOKE_{name.upper()}", str(tmp_path / name))


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_ask_has_the_answers_of_a_model_here(address: str, method: str) -> None:
    """The last method's by the command as a user starts it."""
    run = as_process if method == METHODS[-1] else dycoke
    command = ("ask", MOVE, SURE, "--method", method, "--json", "--quiet")
    own = json.loads(run(*command, "--no-server"))
    served = json.loads(run(*command, "--server", address))
    for key in ("answer", "finish_reason", "method", "frames", "warnings"):
        assert served[key] == own[key]
    for key in ("visual", "visual_kept", "text", "generated"):
        assert served["tokens"][key] == own["tokens"][key]
    assert served["tokens"]["prompt"] == own["tokens"]["visual_kept"] + own["tokens"]["text"]
    assert served["seconds"]["prefill"] > 0


@pytest.mark.extended
@pytest.mark.slow
def test_eval_counts_the_tokens_of_a_model_here(address: str, tmp_path: Path) -> None:
    command = ("eval", "shapes", "--limit", "2", "--methods", "none,evs", "--json", "--quiet")
    command += ("--frames", "4", "--max-tokens", "4")
    here = json.loads(dycoke(*command, "--out", tmp_path / "here"))
    there = json.loads(dycoke(*command, "--out", tmp_path / "there", "--server", address))
    for own, served in zip(here["rows"], there["rows"], strict=True):
        same = ("spec", "questions", "failed", "kept_before_llm", "kept_in_decode")
        assert [served[key] for key in same] == [own[key] for key in same]
