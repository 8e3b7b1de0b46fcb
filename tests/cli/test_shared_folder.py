"""A folder in which other files lie: `eval --out` and `batch --out` write to none but their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dycoke_cli.evaluation import prediction, run_record
from dycoke_cli.evaluation.scoring import judge
from tests.cli.harness import CLIP, Outcome, run_here

OWN = [prediction.FILE, run_record.FILE, judge.FILE]


pytestmark = pytest.mark.usefixtures("samples", "known_answers")


def evaluate(folder: Path) -> Outcome:
    return run_here(
        "eval", "samples", "--limit", "1", "--frames", "2", "--methods", "none", "--device", "cpu",
        "--workers", "1", "--quiet", "--out", folder,
    )  # fmt: skip


def batch(out: Path) -> Outcome:
    return run_here(
        "batch", CLIP, "What happens?", "--frames", "2", "--model", "mini", "--device", "cpu",
        "--quiet", "--out", out,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", OWN)
def test_eval_keeps_the_answers_of_a_batch(name: str, tmp_path: Path) -> None:
    assert batch(tmp_path / name).code == 0
    before = contents(tmp_path)
    assert before[name].startswith(b'{"schema": "dycoke.answer/1"')
    outcome = evaluate(tmp_path)
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.startswith(f"Error: {tmp_path / name} isn't a ")
    assert outcome.err.endswith("of dycoke eval, and stays as it is; give another --out\n")
    assert contents(tmp_path) == before
    # Under another name, both live in one folder.
    (tmp_path / name).rename(tmp_path / "mine.jsonl")
    assert evaluate(tmp_path).code == 0
    assert batch(tmp_path / "mine.jsonl").code == 0
    assert contents(tmp_path)["mine.jsonl"] == before[name]


@pytest.mark.parametrize("name", OWN)
def test_batch_keeps_the_files_of_an_evaluation(name: str, tmp_path: Path) -> None:
    assert evaluate(tmp_path).code == 0
    (tmp_path / judge.FILE).write_text('{"key": "0"}\n')
    before = contents(tmp_path)
    outcome = batch(tmp_path / name)
    assert outcome.code == 6
    assert "line 1: that isn't a line of results of dycoke batch; give another" in outcome.err
    assert {n: c for n, c in contents(tmp_path).items() if n in before} == before


@pytest.mark.parametrize("name", [*OWN, *(f".{name}.lock" for name in OWN[:1])])
@pytest.mark.parametrize("content", [b"dear diary", b"\n", b"\x00\x00\x00\x18ftyp"])
def test_what_is_somebody_elses_stays(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = evaluate(tmp_path)
    if content == b"\n" and name.endswith("lock"):
        assert outcome.code == 0  # there is nothing in it
        return
    assert outcome.code == 6
    assert f"{name} isn't a" in outcome.err
    assert outcome.err.count("\n") == 1
    assert contents(tmp_path)[name] == content


@pytest.mark.parametrize("name", OWN)
def test_a_folder_of_that_name_is_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    outcome = evaluate(tmp_path)
    assert outcome.code == 6
    assert f"{name} isn't a" in outcome.err


def test_files_beside_them_stay(tmp_path: Path) -> None:
    """A repair and a rewritten record among them, which go through a file beside."""
    names = [f"{Path(name).stem}.tmp" for name in OWN] + [f".{name}.part" for name in OWN]
    mine = dict.fromkeys(["lock", "diary.jsonl", *names], b"dear diary")
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    assert evaluate(tmp_path).code == 0
    with (tmp_path / prediction.FILE).open("ab") as file:
        file.write(b'{"setup": "torn')
    assert evaluate(tmp_path).code == 0
    assert b"torn" not in (tmp_path / prediction.FILE).read_bytes()
    assert contents(tmp_path).items() >= mine.items()
    assert set(contents(tmp_path)) == {*mine, *OWN[:2]}


PAGE = ["inspect", CLIP, "What?", "--out"]
BATCH = ["batch", CLIP, "What?", "--out"]
EVAL = ["eval", "samples", "--methods", "none", "--model", "mini", "--out"]
LONG = "n" * 300


@pytest.mark.parametrize("command", [PAGE, BATCH, EVAL], ids=lambda command: command[0])
@pytest.mark.parametrize("out", [LONG, f"{LONG}/a", f"a/{LONG}", "loop", "pipe", "/dev/null"])
def test_a_place_for_no_file_is_refused_before_anything_is_loaded(
    command: list[str | Path], out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    if command is PAGE:
        os.symlink(out, "link.html")
        out = "link.html" if out in ("loop", "pipe", "/dev/null") else f"{out}.html"
    before = set(os.listdir())
    outcome = run_here(*command, out)
    assert (outcome.code, outcome.out) == (6, "")
    assert len(outcome.err.splitlines()) == 1
    assert LONG not in outcome.err
    assert set(os.listdir()) - {"a", "cache"} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is shut to root")
@pytest.mark.parametrize("command", [PAGE, BATCH, EVAL], ids=lambda command: command[0])
def test_a_folder_that_is_shut_is_refused(command: list[str | Path], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    names = {"batch": "new.csv", "eval": "new", "inspect": "new.html"}
    outcome = run_here(*command, tmp_path / names[str(command[0])])
    assert (outcome.code, outcome.out) == (6, "")
    assert "can't be written" in outcome.err


def test_no_lock_stays(tmp_path: Path) -> None:
    assert batch(tmp_path / "mine.jsonl").code == 0
    assert evaluate(tmp_path).code == 0
    assert sorted(contents(tmp_path)) == ["answers.jsonl", "mine.jsonl", "run.jsonl"]
