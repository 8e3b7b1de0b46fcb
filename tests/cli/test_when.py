"""`ask --when`: what comes out, and what is refused; answers are computed from the part asked."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from dycoke_cli.runs.parts import as_question
from tests.cli.fake_engine import SHOWN_S, Fake, know
from tests.cli.harness import CLIP, run_here
from tests.documents import valid

FLAGS = ("--when", "--every", "1", "--frames", "2")


@pytest.fixture
def knowing(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    know(monkeypatch)
    return fake


def test_a_line_for_each_range(knowing: Fake) -> None:
    run = run_here("ask", CLIP, "Is there a blue star?", *FLAGS, "--quiet")
    assert (run.code, run.err) == (0, "")
    assert run.out == "0:01.5-0:02.25 (inside 87.5 %, outside 12.5 %)\n"
    assert {session.asked[0]["question"] for session in knowing} == {"Is there a blue star?"}
    run = run_here("ask", CLIP, "A red star enters.", *FLAGS, "--quiet")
    assert (run.code, run.out) == (0, "not found\n")


def test_where_the_model_would_say_neither_yes_nor_no_it_is_not_found(
    knowing: Fake,
) -> None:
    run = run_here("ask", CLIP, "Is there an unclear blue star?", *FLAGS, "--quiet")
    assert (run.code, run.out) == (0, "not found\n")


def test_the_object_has_the_ranges_and_what_all_parts_took(knowing: Fake) -> None:
    run = run_here("ask", CLIP, "-q", "A blue star", "-q", "A red one", *FLAGS, "--json")
    found, missed = (valid(one, "answer", "answer") for one in run.objects)
    [one] = found["when"]
    assert [one["start"], one["end"]] == pytest.approx(SHOWN_S, abs=0.04)
    assert (one["inside"], one["outside"]) == (0.875, 0.125)
    assert (found["question"], found["answer"]) == ("A blue star", "0:01.5-0:02.25")
    assert (missed["when"], missed["answer"], missed["choice"]) == ([], "not found", "no")
    # The windows (0 to 4 by halves are seven), and the whole video.
    assert missed["seconds"]["total"] == 8.0
    assert missed["seconds"]["load"] == 2.0
    assert found["seconds"]["total"] > 8.0


def test_a_part_of_the_video_is_searched(knowing: Fake) -> None:
    run = run_here("ask", CLIP, "A blue star", *FLAGS, "--start", "2", "--json")
    assert [one["start"] for one in run.object["when"]] == [2.0]
    assert all(session.clip.part_s[0] >= 2 for session in knowing)


def test_a_statement_becomes_a_question() -> None:
    assert as_question(" Is it day? ") == "Is it day?"
    expected = 'Does this happen in the video: "A person enters"? Answer yes or no.'
    assert as_question("A person enters.") == as_question("A person enters") == expected


def picture(folder: Any) -> str:
    Image.new("RGB", (8, 8)).save(folder / "photo.png")
    return str(folder / "photo.png")


@pytest.mark.parametrize("name", ["photo.png", ""])
def test_a_still_picture_is_refused(name: str, tmp_path: Any, knowing: Fake) -> None:
    picture(tmp_path)
    run = run_here("ask", tmp_path / name, "A person enters", "--when")
    assert run.refusal.endswith("is a still picture: --when needs a video; leave it out")


def test_a_part_of_one_frame_is_not_called_a_picture(knowing: Fake) -> None:
    run = run_here("ask", CLIP, "A person enters", "--when", "--start", "1", "--end", "1.001")
    assert run.refusal.endswith("has one frame from --start to --end: --when needs a longer part")


WRONG: list[tuple[list[str], str]] = [
    (["--choices", "a,b"], "--choices and --when exclude each other"),
    (["--score", "1-5"], "--score and --when exclude each other"),
    (["--schema", "form.json"], "--schema and --when exclude each other"),
    (["--until", "yes"], "--until needs --every"),
    (["--every", "0"], "--every must be longer than 0 s"),
    (["--estimate"], "--estimate and --when exclude each other"),
    (["--temperature", "1"], "leave --temperature out"),
]


@pytest.mark.parametrize(("flags", "sentence"), WRONG)
def test_what_is_wrong_is_one_sentence(flags: list[str], sentence: str) -> None:
    assert sentence in run_here("ask", CLIP, "What is it?", "--when", *flags).refusal


@pytest.mark.extended
def test_a_probability_is_what_the_part_alone_is_answered_with() -> None:
    asked = ("ask", CLIP.with_name("vanish.mp4"), "Is there a purple cross?", "--device", "cpu")
    [*found] = run_here(*asked, "--when", "--json").object["when"]
    assert found
    for one in found:
        part = ("--start", str(one["start"]), "--end", str(one["end"]))
        alone = run_here(*asked, "--yes-no", *part, "--json").object
        assert alone["probabilities"]["yes"] == pytest.approx(one["inside"], abs=1e-4)
