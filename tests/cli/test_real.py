"""The whole way, with the bundled model: from a file to what is printed."""

from __future__ import annotations

import pytest

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from tests.cli.harness import CLIP, REAL, ROOT, run_here, run_in_terminal
from tests.documents import valid

pytestmark = pytest.mark.slow
REAL_VIDEOS = ROOT.parent / "shared" / "videos"
SHORT = ("--frames", "8", "--max-tokens", "6", "--json", "--quiet")


def test_object_of_a_real_answer_has_the_keys_of_the_contract() -> None:
    run = run_here("ask", CLIP, "What happens?", "-q", "How many objects?", "--compare", "--json")
    assert run.code == 0
    first, second = run.objects
    for document in (first, second):
        valid(document, "answer", "answer")
        assert document["model"]["name"] == "mini"
        assert document["tokens"]["visual"] == 16 * document["frames"]["count"]
        assert document["compared_to"]["tokens"]["visual_kept"] == document["tokens"]["visual"]
    # The video is encoded once.
    assert first["seconds"]["vision"] > 0
    assert second["seconds"]["vision"] == 0
    assert first["compared_to"]["seconds"]["vision"] == 0


CHOICES = """
    --no-ttm
    --no-recall
    --variant published
    --method random
    --method fastv --prune-ratio 0.625 --prune-layer 3
    --no-kv-prune
    --positions kept
    --merge-ratio 0 --prune-ratio 0
    --window 8 --prune-layer 5 --recall-threshold 1
    --dtype float32 --device cpu
"""


@pytest.mark.parametrize("flags", CHOICES.strip().splitlines(), ids=str.strip)
def test_every_choice_answers(flags: str) -> None:
    run = run_here("ask", CLIP, "What happens?", *SHORT, *flags.split())
    assert run.code == 0, run.err
    assert "compared_to" not in valid(run.object, "answer", "answer")


def test_checkpoint_in_a_folder_is_a_model_like_any_other() -> None:
    folder = BUNDLED_CHECKPOINT
    run = run_here("ask", CLIP, "What happens?", *SHORT, "--model", str(folder))
    assert run.code == 0
    assert run.object["model"]["name"] == str(folder)


FOOTAGE = """
    corrupted.mp4 fire_vfr_rotated.mp4 hevc.mp4 no_duration.webm one_pixel.mp4 bikes.mp4 flower.mp4
    flower.webm flower-fragmented.mp4 friday.mp4 nasa.mp4 rotated_90.mov rotated_270.mov upright.mov
"""


@pytest.mark.parametrize("name", FOOTAGE.split())
def test_real_footage_is_answered(name: str) -> None:
    path = REAL_VIDEOS / name
    if not path.exists():
        pytest.skip(f"the sample footage {name} isn't on this machine")
    run = run_here("ask", path, "What happens?", *SHORT)
    assert run.code == 0, run.err
    assert "compared_to" not in valid(run.object, "answer", "answer")
    probed = run_here("probe", path, "--frames", "8", "--json").object
    assert run.object["frames"] == probed["frames"]
    assert run.object["tokens"]["visual_kept"] == probed["tokens"]["visual_kept"]


@pytest.mark.extended
def test_demo_in_a_terminal() -> None:
    code, seen, _ = run_in_terminal(REAL, "demo", environment={})
    assert code == 0
    text = seen.decode()
    assert text.count("visual tokens dropped") == 2
    assert "Next: `dycoke ask VIDEO" in text
    assert "Traceback" not in text
    # The library's own bars and warnings stay away.
    assert "Loading weights" not in text
