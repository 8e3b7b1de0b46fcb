"""The sample clips: those in the repository are what the command makes, and what they claim."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.models.mini.render import render
from dycoke_cli.models.mini.samples import DEMO, DEMO_WANTED, WANTED, Wanted, sample_script
from dycoke_cli.models.mini.video_files import Recording, frame_seconds, write_clip
from dycoke_cli.models.mini.world import draw_script

FOLDER = Path(__file__).parents[3] / "sample_videos"
SEEDS = {wanted.how.name: 1000 * (i + 1) for i, wanted in enumerate(WANTED)}


def decoded(path: Path) -> tuple[np.ndarray, list[float], int]:
    """Frames as stored, their times in seconds, and the rotation that they ask for."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in frames])
        return pictures, [float(f.time or 0.0) for f in frames], frames[0].rotation


@pytest.mark.parametrize("wanted", [w for w in WANTED if w.seconds <= 10], ids=lambda w: w.how.name)
def test_the_clip_shows_its_script(wanted: Wanted):
    script = sample_script(wanted, SEEDS[wanted.how.name])
    assert script.split() == "samples"
    pictures, seconds, rotation = decoded(FOLDER / wanted.how.name)
    assert rotation == wanted.how.turned
    assert seconds == pytest.approx(frame_seconds(wanted.seconds, wanted.how), abs=2e-3)
    for i in (0, len(pictures) // 2, len(pictures) - 1):
        shown = np.rot90(pictures[i], k=rotation // 90).astype(float)
        drawn = render(script, np.array([seconds[i] / wanted.seconds]), wanted.how.side)[0]
        assert np.abs(shown - drawn).mean() < 3


def test_there_is_one_of_each_special_kind():
    assert len(WANTED) >= 8
    assert sum(w.how.turned != 0 for w in WANTED) == 1
    assert sum(w.how.uneven for w in WANTED) == 1
    assert sum(w.how.name.endswith(".webm") for w in WANTED) == 1
    assert min(w.seconds for w in WANTED) == 2
    assert max(w.seconds for w in WANTED) == 60


def test_uneven_times():
    gaps = np.diff(frame_seconds(9, Recording("x.mp4", fps=12, uneven=True)))
    assert gaps.max() / gaps.min() == pytest.approx(4)


def test_table_and_questions_name_every_clip():
    table = (FOLDER / "README.md").read_text()
    entries = json.loads((FOLDER / "samples.json").read_text())
    assert [e["file"] for e in entries] == [w.how.name for w in WANTED]
    for wanted, entry in zip(WANTED, entries, strict=True):
        assert f"`{wanted.how.name}`" in table
        kinds = [q["kind"] for q in entry["questions"]]
        assert kinds.count("action") == len(wanted.actions)
        assert "description" in kinds


def test_the_demo_clip_ships_with_the_package_and_is_small():
    assert DEMO.stat().st_size < 100_000
    assert sample_script(DEMO_WANTED, 500).split() == "samples"


def test_a_clip_is_the_same_each_time(tmp_path):
    script = draw_script(2, "samples")
    how = Recording("a.mp4", fps=6, side=64)
    for name in ("a.mp4", "b.mp4"):
        write_clip(script, how, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
