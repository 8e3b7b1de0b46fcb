"""Videos that are read in windows, with the bundled model: from a file to what is printed."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest

from dycoke_cli.storage.cache_folder import encoded_videos
from dycoke_cli.video.decoder import OpenClip
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP, ROOT, run_here
from tests.documents import valid

pytestmark = pytest.mark.slow
MINUTE = ROOT / "sample_videos" / "minute.mp4"
# 70 frames, which are three windows.
PART = ("ask", MINUTE, "What happens?", "--end", "7")
LONG = (*PART, "--fps", "10", "--max-tokens", "6", "--json")
# Of the context of 2,048 tokens, 648 and 248 are left for the video and the text.
LITTLE, LEAST = (*LONG, "--max-tokens", "1400"), (*LONG, "--max-tokens", "1800")
PAGE = (ROOT / "docs" / "long-video.md").read_text(encoding="utf-8")


@pytest.mark.extended
def test_what_the_page_tells_to_type_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        command, *arguments = shlex.split(line)
        run = run_here(*arguments)
        assert (command, run.code) == ("dycoke", 0), run.err
        assert run.out.strip()


@pytest.mark.parametrize(
    "method",
    # One that merges and prunes, one that needs the tower's attention, and one that keeps all.
    ["dycoke-plus", "visionzip", "none", "dycoke", "evs"],
)
def test_a_budget_of_tokens_is_kept(method: str) -> None:
    run = run_here(*LONG, "--video-tokens", "100", "--method", method)
    assert run.code == 0, run.err
    document = valid(run.object, "answer", "answer")
    windows, tokens = document["windows"], document["tokens"]
    frames = document["frames"]["count"]
    assert frames == 70
    assert windows["frames"] == 32
    assert windows["count"] == math.ceil(frames / windows["frames"])
    assert tokens["visual"] == 16 * frames
    assert tokens["visual_kept"] == windows["video_tokens"] == 100 < windows["visual_kept"]
    assert windows["visual_kept"] == tokens["visual"] or method != "none"
    assert document["seconds"]["total"] > document["seconds"]["vision"] > 0


def test_rate_frames_and_tokens_are_limited_at_once() -> None:
    run = run_here(*LONG, "--max-frames", "40", "--video-tokens", "60")
    assert run.code == 0, run.err
    assert run.object["frames"]["count"] == 40
    assert run.object["tokens"]["visual_kept"] == 60


def test_without_a_budget_as_much_as_one_window_has_is_read() -> None:
    """As `--frames` reads by default; a method that compares all frames is told what to do."""
    whole = (*LITTLE, "--method", "none")
    run = run_here(*whole)
    assert run.code == 0
    document = run.object
    tokens = document["tokens"]
    assert Sampling().frames == document["windows"]["frames"] == 32
    assert tokens["visual_kept"] == document["windows"]["video_tokens"] == 32 * 16
    assert run_here(*whole, "--video-tokens", "512").object["answer"] == document["answer"]
    filled = run_here(*whole, "--video-tokens", "9999").object["tokens"]["visual_kept"]
    assert filled == 648 - tokens["text"]
    assert re.search(r"\d+ frames are read in windows of 32", " ".join(document["warnings"]))
    refused = run_here(*LITTLE, "--method", "maxmin", "--retain", "0.9")
    assert refused.code == 2
    assert "make a prompt longer than the model's context" in refused.object["error"]["message"]


def test_each_part_that_does_not_fit_the_context_is_read_in_windows() -> None:
    """Not only the first: 40 frames of 16 tokens don't, the last 10 do."""
    run = run_here(*LEAST, "--end", "9", "--every", "4s", "--method", "none")
    assert run.code == 0, run.err
    assert ["windows" in document for document in run.objects] == [True, True, False]


def test_a_video_of_one_window_is_answered_as_without() -> None:
    short = ("ask", CLIP, "What happens?", "--json")
    whole, windowed = run_here(*short).object, run_here(*short, "--video-tokens", "4096").object
    assert windowed["windows"]["count"] == 1
    for key in ("answer", "tokens", "decode", "flops", "frames", "method"):
        assert windowed[key] == whole[key]
    assert "windows" not in whole


@pytest.mark.parametrize("method", ["dycoke-plus", "none", "dycoke"])
def test_positions_are_contiguous_unless_the_user_says_otherwise(method: str) -> None:
    """Although the checkpoint asks for original ones; the panel and the object say which."""
    flags = (*LONG[:-1], "--end", "4", "--video-tokens", "100", "--method", method)
    run = run_here(*flags, "--stats")
    assert re.search(r"Windows .* of 32 frames, [\d,]+ tokens kept; contiguous positions", run.err)
    found = run_here(*flags, "--json").object
    assert found["windows"]["positions"] == "renumbered"
    assert found["method"].get("positions", "renumbered") == "renumbered"
    if method == "none":
        return
    chosen = run_here(*flags, "--json", "--positions", "renumbered").object
    kept = run_here(*flags, "--json", "--positions", "kept").object
    assert chosen["answer"] == found["answer"] == run.out.strip()
    assert kept["windows"]["positions"] == kept["method"]["positions"] == "kept"


@pytest.mark.parametrize("budget", [(), ("--video-tokens", "100")])
def test_an_answer_as_long_as_the_context_is_refused_before_decoding(
    budget: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("frames are decoded")

    monkeypatch.setattr(OpenClip, "read", read)
    run = run_here(*LONG[:-2], "2048", *budget, "--json")
    assert run.code == 2
    sentence = "--max-tokens 2048 leaves no room for the video in the model's context of 2048"
    message = run.object["error"]["message"]
    assert message.startswith(sentence)
    assert message.endswith("use --max-tokens 1024 or lower")


@pytest.mark.extended
def test_several_questions_and_a_conversation() -> None:
    """The second prompt is longer, and of the video no more is read."""
    run = run_here(*LITTLE, "--method", "none", "-q", "How many objects are there?", "--follow-up")
    assert run.code == 0, run.err
    first, second = run.objects
    assert second["seconds"]["vision"] == 0 < first["seconds"]["vision"]
    assert second["tokens"]["text"] > first["tokens"]["text"]
    assert second["tokens"]["visual_kept"] <= first["tokens"]["visual_kept"]


def test_windows_are_cached_one_by_one() -> None:
    first = run_here(*LONG, "--video-tokens", "300", "--cache").object
    files = [path for path in Path(encoded_videos().folder).iterdir() if path.is_file()]
    assert len(files) >= first["windows"]["count"]
    again = run_here(*LONG, "--video-tokens", "300", "--cache").object
    assert (again["answer"], again["tokens"]) == (first["answer"], first["tokens"])
    assert len([path for path in Path(encoded_videos().folder).iterdir() if path.is_file()]) == len(
        files
    )
