"""`dycoke bench`: what goes where and what is refused on an engine that pretends; one real run."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.bench import bench_run
from dycoke_cli.cli.commands.bench import QUESTION
from dycoke_cli.evaluation.method_row import MethodRow
from tests.bench.made_up import measured, rows_of
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, REAL, run_here, run_process
from tests.documents import valid

OTHER = CLIP.with_name("three.mp4")
SMALL = ("--frames", "4", "--model", "mini")


def bench(*arguments: str | Path) -> dict[str, Any]:
    run = run_here("bench", *arguments, *SMALL, "--json")
    assert run.code == 0, run.err
    return valid(run.object, "bench", "report")


def test_one_document_with_all_that_was_measured(fake: Fake) -> None:
    questions = ("What moves?", "Who?")
    flags = [word for question in questions for word in ("-q", question)]
    report = bench(
        CLIP, OTHER, *flags, "--methods", "none,dycoke,evs", "--retain", "0.5,0.25", "--runs", "1"
    )
    assert report["schema"] == "dycoke.bench/1"
    assert report["model"]["name"] == "mini"
    assert report["videos"] == [str(CLIP), str(OTHER)]
    assert report["questions"] == [*questions]
    specs = ["none", "dycoke", "evs:retain=0.5", "evs:retain=0.25"]
    assert [row["spec"] for row in report["rows"]] == specs
    assert [row["tokens"]["visual_kept"] for row in report["rows"]] == [64, 28, 32, 16]
    assert [row["changed"] for row in report["rows"]] == [None, 0, 0, 0]
    assert {row["bytes"]["peak_total"] for row in report["rows"]} == {None}
    assert [(each["video"], each["question"]) for each in report["answers"]] == [
        (str(video), question) for video in (CLIP, OTHER) for question in questions
    ]
    for each in report["answers"]:
        assert [*each["answers"]] == specs
    on = report["environment"]
    assert all(on[name] for name in ("python", "torch", "transformers", "processor"))
    assert (on["cores"] >= 1, on["threads"] >= 1, on["accelerator"]) == (True, True, None)
    # A session per run: four configurations, two videos, a warm-up and one run.
    assert len(fake) == 4 * 2 * 2
    assert {(session.reuse, session.cache) for session in fake} == {(False, None)}
    assert {len(session.asked) for session in fake} == {2}


def test_runs_take_turns_on_the_methods_chosen(fake: Fake) -> None:
    bench(CLIP, "--methods", "dycoke,evs", "--runs", "1")
    # The baseline is always measured; the second round begins with the next one.
    names = [session.asked[0]["method"].name for session in fake]
    assert names == ["none", "dycoke", "evs", "dycoke", "evs", "none"]
    assert {session.asked[0]["question"] for session in fake} == {QUESTION}


def test_the_settings_of_a_published_table(fake: Fake) -> None:
    """What is given stays: the model, methods, frames and the length of answers."""
    flags = ("--preset", "table-3", "--model", "mini", "--runs", "1", "--json")
    report = valid(run_here("bench", CLIP, *flags).object, "bench", "report")
    dycoke = "dycoke:variant=published:merge_ratio={}:prune_ratio=0.7:prune_layer=3"
    specs = ["none", dycoke.format(0.5), dycoke.format(0.7)]
    assert [row["spec"] for row in report["rows"]] == specs
    assert (report["model"]["name"], report["generation"]["max_tokens"]) == ("mini", 100)
    assert report["rows"][0]["tokens"]["visual"] == 32 * 16
    flags = (*flags, "--methods", "ttm", "--frames", "4", "--max-tokens", "7")
    report = valid(run_here("bench", CLIP, *flags).object, "bench", "report")
    assert [row["spec"] for row in report["rows"]] == ["none", "ttm"]
    assert report["generation"]["max_tokens"] == 7
    assert report["rows"][0]["tokens"]["visual"] == 4 * 16


def test_a_sampled_answer_has_one_seed_for_all(fake: Fake) -> None:
    report = bench(CLIP, "--runs", "1", "--temperature", "0.5")
    assert {session.asked[0]["seed"] for session in fake} == {0}
    assert report["generation"]["seed"] == 0
    fake.clear()
    bench(CLIP, "--runs", "1", "--temperature", "0.5", "--seed", "7")
    assert {session.asked[0]["seed"] for session in fake} == {7}
    fake.clear()
    bench(CLIP, "--runs", "1")
    assert {session.asked[0]["seed"] for session in fake} == {None}


def test_warnings_once_and_the_note_on_stderr(fake: Fake) -> None:
    fake.warning = "hardly fits; use fewer frames"
    run = run_here("bench", CLIP, "--frames", "4", "--runs", "1")
    assert run.code == 0
    assert run.err.startswith("Using the bundled demo model")
    assert run.err.count("Warning: hardly fits") == 1
    report = bench(CLIP, "--runs", "1")
    assert report["warnings"] == ["hardly fits; use fewer frames"]
    quiet = run_here("bench", CLIP, "--frames", "4", "--runs", "1", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_each_answers_warnings_are_told_but_those_of_controls(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def measure(engine: object, row: MethodRow, *_: object) -> list[Any]:
        return [measured(f"{next(numbers)}", warnings=(f"by {row.spec.text}",))]

    monkeypatch.setattr(bench_run, "measure", measure)
    left_out = rows_of("none,evs,one-frame"), ["dart is left out"]
    monkeypatch.setattr(bench_run, "rows_on", lambda *_: left_out)
    report = bench(CLIP, "--methods", "evs,dart,one-frame", "--runs", "2")
    *warned, none, evs, one = report["warnings"]
    assert warned == ["dart is left out", "by none", "by evs"]
    for text, spec in ((none, "none"), (evs, "evs"), (one, "one-frame")):
        assert text.startswith(f"{spec} answered {QUESTION!r} about {CLIP} differently in two runs")


def test_text_off_a_terminal(fake: Fake) -> None:
    run = run_here("bench", CLIP, *SMALL, "--methods", "dycoke,evs:retain=0.5")
    assert run.code == 0
    assert "\x1b" not in run.out
    assert run.out.startswith("mini: 1 question about 1 video, 3 runs of each configuration")
    heading = " +".join(
        ("Method", "Video", r"Preproc\.", "Vision", "Prefill", "TTFT", "TPOT", "End to end")
    )
    assert re.search(rf"^{heading} +Speed-up$", run.out, re.M)
    assert re.search(r"^evs:retain=0\.5 .* 64 → 32 \(50 %\) .* 0 \(0 %\)$", run.out, re.M)
    # One text, so all configurations stand beside it.
    assert re.search(r"^  none, dycoke, evs:retain=0\.5: a red circle moves right", run.out, re.M)
    assert "Without reference answers there is no accuracy" in " ".join(run.out.split())
    assert run.err.startswith("0 of 12 answers are there\n")


# Each ends without torch (test_first_contact.py has some of them).
REFUSED = [
    ([str(CLIP.parent)], 3, "video_unreadable", "is a folder"),
    ([str(CLIP), "nofile.mp4"], 3, "video_unreadable", "nofile.mp4 doesn't exist"),
    (["-"], 2, "usage", "bench decodes a video several times: name a file in place of -"),
    ([], 2, "usage", "VIDEO… is missing"),
    ([str(CLIP), "--retain", "0.5"], 2, "usage", "--retain is for methods that take a budget"),
    ([str(CLIP), "--methods", "evs", "--retain", "2"], 2, "usage", "retain must be above 0"),
    ([str(CLIP), "--preset", "table-33"], 2, "usage", "did you mean table-3?"),
    ([str(CLIP), "--runs", "0"], 2, "usage", "--runs must be 1 or more, not 0"),
    ([str(CLIP), "--start", "99:00"], 2, "usage", "lies beyond the end of the video"),
]


@pytest.mark.parametrize(("arguments", "code", "word", "sentence"), REFUSED)
def test_what_is_refused(arguments: list[str], code: int, word: str, sentence: str) -> None:
    text = run_here("bench", *arguments)
    assert (text.code, text.out) == (code, "")
    assert re.fullmatch(rf"Error: .*{re.escape(sentence)}.*\n", text.err)
    document = run_here("bench", *arguments, "--json").object
    valid(document, "bench", "error")
    assert document["error"]["code"] == word
    assert sentence in document["error"]["message"]


def test_what_fails_in_a_run_leaves_an_error_object(fake: Fake) -> None:
    fake.failure = "memory"
    run = run_here("bench", CLIP, *SMALL, "--json")
    assert run.code == 5
    assert valid(run.object, "bench", "error")["error"]["code"] == "out_of_memory"


@pytest.mark.extended
def test_the_bundled_model_with_two_methods_and_the_controls() -> None:
    flags = ("--methods", "none,dycoke,no-video", "--runs", "2", "--frames", "16", "--json")
    question = "What happens?"
    paths = (CLIP, OTHER)
    run = run_process(REAL, "bench", *paths, "-q", question, *flags, "--dtype", "float32")
    assert (run.code, "Traceback" in run.err) == (0, False), run.err
    report = valid(run.object, "bench", "report")
    none, dycoke, blind = report["rows"]
    for row in (none, dycoke):
        took = row["seconds"]
        parts = [took[name] for name in ("video_decode", "preprocess", "vision", "prefill")]
        assert all(part > 0 for part in parts)
        assert sum(parts) == pytest.approx(took["first_token"], rel=0.5)
        assert took["first_token"] < took["total"]
        assert row["total_least"] <= row["total_most"]
    assert none["tokens"]["visual"] == none["tokens"]["visual_kept"] == 256
    assert dycoke["tokens"]["visual_kept"] == 4 * 16 + 12 * 4
    assert dycoke["bytes"]["kv_cache"] < none["bytes"]["kv_cache"]
    assert (blind["tokens"]["visual"], blind["seconds"]["vision"]) == (0, 0)
    # The answers are those of `dycoke ask`.
    for each in report["answers"]:
        for method in ("none", "dycoke"):
            how = ("--method", method, "--frames", "16", "--dtype", "float32", "--quiet")
            asked = run_here("ask", each["video"], question, *how)
            assert asked.out.strip() == each["answers"][method]
