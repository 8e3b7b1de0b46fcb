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
from tests.server.local.conftest import Served

FLAGS = ("--prompt", "What happens?", "--check", "--frames", "8", "--method", "none")
WAYS = ("here", "socket")


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
    own = {"here": ("--no-server",), "socket": ()}[way]
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
            assert share == pytest.approx(answer["probabilities"]["yes"], rel=1e-4)
