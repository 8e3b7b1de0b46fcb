"""`dycoke caption --check` on each way: sentences have the probabilities that `ask` gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.caption import checking_question
from dycoke_cli.cli.render.batch_view import CaptionView
from dycoke_cli.loop import checking
from tests.cli.harness import CLIP, Outcome, run_here
from tests.runs.remote.endpoint import serving
from tests.server.local.conftest import Served
from tests.server.local.foreign import stripped

FLAGS = ("--prompt", "What happens?", "--check", "--frames", "8", "--method", "none")
WAYS = ("here", "socket", "v1")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clips; whatever the model would rather say, its shares of yes and no count."""
    monkeypatch.chdir(tmp_path)
    for name in ("move", "three"):
        (tmp_path / f"{name}.mp4").write_bytes((CLIP.parent / f"{name}.mp4").read_bytes())
    monkeypatch.setattr(checking, "LEAST_MASS", 0.0)


def captioned(*flags: str) -> Outcome:
    return run_here("caption", "move.mp4", "three.mp4", "--out", "made.jsonl", *FLAGS, *flags)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_each_sentence_is_asked_about_the_same_video(
    real: Served, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{real.port}/v1"
    own = {"here": ("--no-server",), "socket": (), "v1": ("--server", url)}[way]
    shown: list[tuple[str, list[str], list[float | None]]] = []

    def record(self: CaptionView, video: str, texts: Any, shares: Any, left_out: Any) -> None:
        shown.append((video, list(texts), list(shares)))

    monkeypatch.setattr(CaptionView, "checked", record)
    real.loads.clear()
    run = captioned(*own)
    assert run.code == 0, run.err
    if way == "socket":
        assert real.has_answered()
    lines = map(json.loads, Path("made.jsonl").read_text().splitlines())
    rows = {row["video_path"]: row for row in lines}
    assert len(rows) == len(shown) == 2
    for video, texts, shares in shown:
        assert "".join(texts) == rows[video]["caption"]
        for text, share in zip(texts, shares, strict=True):
            command = ("ask", video, checking_question(text), "--yes-no")
            [answer] = run_here(
                *command, "--frames", "8", "--method", "none", "--json", "--no-server"
            ).objects
            # A server is sent pictures that went through an encoder.
            assert share == pytest.approx(answer["probabilities"]["yes"], rel=0.02)


@pytest.mark.slow
def test_a_server_without_probabilities_ends_the_run(real: Served) -> None:
    with serving(stripped(real), knows=False) as endpoint:
        run = captioned("--server", endpoint.url)
    assert run.code != 0
    assert run.err.count("--check: the server gives no probabilities of the options") == 1
    assert not Path("made.jsonl").exists()
