"""The sample clips: those in the repository are what the command makes, and what they claim."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.shapes.recording import Recording, frame_seconds
from dycoke_cli.shapes.render import render
from training.world import samples
from training.world.random_scripts import split_of
from training.world.samples import (
    DEMO,
    DEMO_WANTED,
    WANTED,
    Wanted,
    describe,
    sample_script,
    write_samples,
)
from training.world.script_questions import KINDS

FOLDER = Path(__file__).parents[2] / "sample_videos"
MOST_BYTES = 1_500_000
PATHS = [*((w, FOLDER / w.file) for w in WANTED), (DEMO_WANTED, DEMO)]


def entries() -> list[dict]:
    return json.loads((FOLDER / "samples.json").read_text())


def decoded(path: Path) -> tuple[np.ndarray, list[float], int]:
    """Frames as stored, their times in seconds, and the rotation that they ask for."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in frames])
        return pictures, [float(f.time or 0.0) for f in frames], frames[0].rotation


def test_each_clip_shows_its_script():
    for wanted, path in (one for one in PATHS if one[0].seconds <= 12):
        script = sample_script(wanted)
        assert split_of(script) == "samples"
        pictures, seconds, rotation = decoded(path)
        assert rotation == wanted.how.turned
        assert seconds == pytest.approx(frame_seconds(wanted.seconds, wanted.how), abs=2e-3)
        # Noise, whose mean magnitude is 0.8 standard deviations, is what the encoder drops first.
        most = 1.6 + 0.8 * script.camera.noise
        for i in (0, len(pictures) // 2, len(pictures) - 1):
            shown = np.rot90(pictures[i], k=rotation // 90).astype(float)
            drawn = render(script, np.array([seconds[i] / wanted.seconds]), wanted.how.side)[0]
            assert np.abs(shown - drawn).mean() < most, wanted.file


def test_there_is_one_of_each_special_kind():
    assert len(WANTED) >= 8
    assert sum(w.how.turned != 0 for w in WANTED) == 1
    assert sum(w.how.uneven for w in WANTED) == 1
    assert sum(w.file.endswith(".webm") for w in WANTED) == 1
    assert min(w.seconds for w in WANTED) == 4
    assert max(w.seconds for w in WANTED) == 60
    assert {w.label for w in WANTED} == {"static", "mixed", "dynamic"}
    assert all(w.events >= 2 for w in WANTED)


def test_the_script_has_what_is_wanted():
    wanted = next(w for w in WANTED if w.file == "three.mp4")
    script = sample_script(wanted)
    deeds = [event.deed for event in script.events]
    assert {"hit", "bounce"} <= set(deeds)
    assert (len(deeds), len(script.things), len(script.scenes)) == (4, 3, 1)
    assert (script.label, script.seconds, script.camera.quality) == ("mixed", 14.0, 24)


def test_table_and_questions_name_every_clip_and_ask_of_every_kind():
    table = (FOLDER / "README.md").read_text()
    assert [e["file"] for e in entries()] == [w.file for w in WANTED]
    for wanted, entry in zip(WANTED, entries(), strict=True):
        said = describe(sample_script(wanted))
        assert f"| `{wanted.file}` | {wanted.seconds} s |" in table
        assert said in table
        (told,) = [q for q in entry["questions"] if q["kind"] == "description"]
        assert (told["text"], told["answer"]) == ("What happens in the video?", said)
    kinds = [[q["kind"] for q in entry["questions"]] for entry in entries()]
    assert {kind for found in kinds for kind in found} == {*KINDS} - {"unknown"}
    for found in kinds:
        assert {"action", "description", "order", "letter", "follow-up"} <= set(found)
        assert len(found) >= 8


def test_clips_are_small():
    files = [*FOLDER.iterdir()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert {file.name for file in files} == {w.file for w in WANTED} | {"README.md", "samples.json"}
    assert DEMO.stat().st_size < 100_000


def test_the_command_writes_all_that_goes_with_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small = Wanted("a.mp4", ("move",), 2, 4.0, how=Recording(fps=4, side=64), note="tiny")
    monkeypatch.setattr(samples, "WANTED", (small,))
    monkeypatch.setattr(samples, "DEMO_WANTED", small)
    once = write_samples(tmp_path / "once", tmp_path / "demo.mp4")
    write_samples(tmp_path / "again", tmp_path / "demo.mp4")
    assert [path.name for path in once] == ["a.mp4", "demo.mp4", "README.md", "samples.json"]
    for name in ("a.mp4", "README.md", "samples.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    (entry,) = json.loads((tmp_path / "once" / "samples.json").read_text())
    assert (entry["file"], entry["seconds"]) == ("a.mp4", 4.0)
    assert "| tiny |" in (tmp_path / "once" / "README.md").read_text()
