"""docs/typed.md: what it tells a user to type works, and its table is what comes out."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from dycoke_cli.video.sampling import parse_time
from tests.cli.harness import ROOT, run_here
from tests.documents import valid
from tests.forms import NEEDS_LIBRARY
from tests.pages import blocks

PAGE = (ROOT / "docs" / "typed.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_videos").symlink_to(ROOT / "sample_videos")
    monkeypatch.chdir(tmp_path)


def typed(name: str) -> list[list[str]]:
    """The commands of a block, as arguments of dycoke."""
    [block] = blocks(f"sh {name}", PAGE)
    return [shlex.split(line)[1:] for line in block.splitlines()]


def test_the_questions_of_the_page() -> None:
    yes_no, choices, score = (run_here(*command) for command in typed("ask"))
    assert re.fullmatch(r"no \((100\.0|99\.\d) %\)\n", yes_no.out)
    assert re.search(r"^no (100\.0|99\.\d) % · yes ", yes_no.err, re.MULTILINE)
    document = valid(choices.object, "answer", "answer")
    assert document["choice"] == document["answer"] == "moves up"
    assert [*document["probabilities"]] == ["moves left", "moves up"]
    assert sum(document["probabilities"].values()) == pytest.approx(1)
    assert document["tokens"]["generated"] == document["decode"]["steps"] == 0
    # The bundled model answers in sentences.
    assert "wanted to say something else" in " ".join(document["warnings"])
    assert re.fullmatch(r"[1-5] \(\d+\.\d %\)\n", score.out)
    assert re.search(r"mean \d\.\d\d$", score.err, re.MULTILINE)


def test_the_table_of_the_page() -> None:
    [command] = typed("batch")
    run = run_here(*command)
    assert run.code == 0
    rows = [*csv.DictReader(Path("stars.csv").read_text().splitlines())]
    found = {Path(row["video"]).name: row for row in rows}
    shown = re.findall(r"^\| (\w+\.mp4) \| (\w+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert sorted(found) == [name for name, _, _ in shown]
    for name, choice, probability in shown:
        assert found[name]["answer"] == choice
        # Rounding depends on the processor, but not this much.
        own = float(found[name]["probabilities.yes"])
        assert own == pytest.approx(float(probability), abs=0.01)
        assert own + float(found[name]["probabilities.no"]) == pytest.approx(1, abs=0.002)


@pytest.mark.extended
def test_the_python_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = blocks("python", PAGE)
    exec(block, {})
    assert capsys.readouterr().out.startswith("no {'yes': 0.0")


@pytest.mark.extended
@NEEDS_LIBRARY
def test_the_forms_of_the_page() -> None:
    [schema] = blocks("json", PAGE)
    Path("answer.json").write_text(schema)
    answer, table = (run_here(*command, "--no-server") for command in typed("schema"))
    assert (answer.code, table.code) == (0, 0), answer.err
    document = valid(answer.object, "answer", "answer")
    assert document["parsed"] == json.loads(document["answer"])
    assert document["parsed"]["shapes"] in range(10)
    rows = [*csv.DictReader(Path("there.csv").read_text().splitlines())]
    assert {Path(row["video"]).name for row in rows} == {"minute.mp4", "move.mp4"}
    assert {row["parsed.shapes"] for row in rows} <= {*map(str, range(10))}


@pytest.mark.extended
@NEEDS_LIBRARY
def test_the_forms_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = blocks("python form", PAGE)
    exec(block, {})
    assert capsys.readouterr().out.startswith('{"type": "object"}')


def test_the_windows_of_the_page() -> None:
    each, until = (run_here(*command) for command in typed("every"))
    [shown, _] = blocks("text", PAGE)
    assert re.sub(r"\([\d.]+ %\)", "", each.out) == re.sub(r"\([\d.]+ %\)", "", shown)
    assert until.out.splitlines() == each.out.splitlines()[:3]


@pytest.mark.extended
def test_the_ranges_of_the_page() -> None:
    [run] = (run_here(*command) for command in typed("when"))
    [_, shown] = blocks("text", PAGE)
    pattern = r"(\S+)-(\S+) \(inside [\d.]+ %, outside [\d.]+ %\)\n?"
    found, expected = re.fullmatch(pattern, run.out), re.fullmatch(pattern, shown)
    # Rounding depends on the processor, and moves an edge by a 32nd of a window.
    for own, of_page in zip(found.groups(), expected.groups(), strict=True):
        assert parse_time(own) == pytest.approx(parse_time(of_page), abs=0.13)
