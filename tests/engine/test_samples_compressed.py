"""With DyCoke's defaults the bundled model tells what the objects of the sample clips do."""

import json
from pathlib import Path

import pytest

from dycoke_cli import DyCoke, Sampling, VideoSession, load, read

SAMPLES = Path(__file__).parents[2] / "sample_videos"


@pytest.mark.slow
def test_actions_are_right_on_most_clips():
    loaded = load("mini", device="cpu")
    method = DyCoke(**loaded.method_defaults)
    clips = json.loads((SAMPLES / "samples.json").read_text())
    assert len(clips) >= 8
    all_right = 0
    for clip in clips:
        session = VideoSession(loaded, read(SAMPLES / clip["file"], Sampling(frames=32)))
        asked = [q for q in clip["questions"] if q["kind"] == "action"]
        answers = [session.ask(q["text"], method) for q in asked]
        all_right += all(a.answer == q["answer"] for a, q in zip(answers, asked, strict=True))
        assert all(a.tokens["visual_kept"] < a.tokens["visual"] for a in answers)
    assert all_right >= len(clips) * 6 / 8
