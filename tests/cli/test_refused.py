"""Questions that aren't put to the bundled model: no figure of theirs is a zero, none is scored."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.loop.engine import Engine
from tests.cli.harness import CLIP, run_here
from tests.documents import valid
from tests.evaluation import miniatures
from tests.evaluation.samples import Samples

BEYOND = "Which colours has the fishmonger's parrot?"
SMALL = ("--frames", "2", "--device", "cpu")


class Mixed(Samples):
    """Questions about the sample clips, every other of which is about something else."""

    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        own = super().items(split, limit_videos)
        other = [
            Item(f"{one.id}_other", one.video, BEYOND, one.answer, "parrots", "") for one in own
        ]
        return [item for pair in zip(own, other, strict=True) for item in pair]


def test_ask_says_so_and_shows_no_figures() -> None:
    run = run_here("ask", CLIP, BEYOND, *SMALL, "--compare")
    assert (run.code, run.out) == (0, "I only know moving shapes.\n")
    assert "the model wasn't asked: it only knows moving shapes" in run.err
    assert "tokens" not in run.err
    document = valid(run_here("ask", CLIP, BEYOND, *SMALL, "--compare", "--json").object, "answer")
    for one in (document, document["compared_to"]):
        assert (one["finish_reason"], one["tokens"], one["seconds"]) == ("refused", None, None)


def test_lines_of_a_batch(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    command = ("batch", CLIP, "-q", BEYOND, "-q", "What happens?", *SMALL, "--batch-size", "2")
    run = run_here(*command, "--out", out)
    assert run.code == 0
    summary = "2 questions about 1 clip, 1 refused (outside what the model knows)"
    assert f"{summary}, 1 clip with warnings ({CLIP})" in run.err.splitlines()
    lines = [valid(json.loads(line), "batch") for line in out.read_text().splitlines()]
    reasons = {line["question"]: line["finish_reason"] for line in lines}
    assert reasons == {BEYOND: "refused", "What happens?": "stop"}
    again = run_here(*command, "--out", out)
    assert "2 questions about 1 clip done already" in again.err
    fields = ("--fields", "question,finish_reason,tokens.generated,bytes.kv_cache", "--quiet")
    assert run_here(*command, "--out", tmp_path / "answers.csv", *fields).code == 0
    table = (tmp_path / "answers.csv").read_text()
    cells = {row[0]: row[1:4] for row in csv.reader(io.StringIO(table))}
    assert cells[BEYOND] == ["refused", "", ""]
    assert cells["What happens?"][0] == "stop"
    assert all(int(figure) > 0 for figure in cells["What happens?"][1:])


@pytest.mark.extended
@pytest.mark.slow
def test_eval_counts_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other questions have the figures that they have without them."""
    flags = (
        "eval", "samples", *SMALL, "--limit", "1", "--methods", "none,dycoke,no-video",
        "--batch-size", "2", "--workers", "1", "--max-new-tokens", "4",
    )  # fmt: skip
    monkeypatch.setattr("dycoke_cli.cli.commands.eval.open_dataset", lambda *_: Samples())
    alone = run_here(*flags, "--out", tmp_path / "alone", "--json", "--quiet").object
    monkeypatch.setattr("dycoke_cli.cli.commands.eval.open_dataset", lambda *_: Mixed())
    mixed = run_here(*flags, "--out", tmp_path / "mixed", "--json", "--quiet")
    assert mixed.code == 0
    document = valid(mixed.object, "eval", "report")
    count = alone["rows"][0]["questions"]
    kept = (
        "questions", "accuracy", "standard_error", "difference", "difference_error", "by_type",
        "changed", "kept_before_llm", "kept_in_decode", "failed", "unparsable",
    )  # fmt: skip
    for row, without in zip(document["rows"], alone["rows"], strict=True):
        assert (row["refused"], without["refused"]) == (count, 0)
        assert {name: row[name] for name in kept} == {name: without[name] for name in kept}
        assert min(row["seconds"], row["bytes"]) > 0
    assert document["unscored"] == []
    sentence = (
        f"mini refused {count} of {2 * count} questions, whose words it doesn't know; they aren't "
        "scored"
    )
    assert sentence in document["warnings"]
    again = run_here("eval", "report", tmp_path / "mixed")
    assert again.code == 0
    assert f"Warning: {sentence}\n" in again.err
    assert re.search(rf"Refused\n.*\n.* {count} *\n", again.out)
    assert run_here("eval", "report", tmp_path / "mixed", "--json", "--quiet").object == document
    values = run_here("eval", "report", tmp_path / "mixed", "--csv", "--quiet").out
    assert [row["refused"] for row in csv.DictReader(io.StringIO(values))] == [str(count)] * 3


def test_where_all_are_refused_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Engine, "load", never)
    data = miniatures.make("activitynetqa", tmp_path / "data")
    flags = ("--preset", "table-1-7b", "--model", "mini", *SMALL, "--out", tmp_path / "out")
    run = run_here("eval", "activitynetqa", "--data", data, *flags, "--quiet")
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        "Error: mini can't be asked any of the 3 questions: half or more of their words are "
        "unknown to it; choose another --model, with --random-weights to try it without a "
        "download\n"
    )
    assert not (tmp_path / "out").exists()
