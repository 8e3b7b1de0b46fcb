"""A small fuzz, `python -m tests.fuzz` is the large one; and that it sees what is wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from dycoke_cli.errors import VideoError
from tests.fuzz import fuzz
from tests.fuzzing import mutators, trying
from tests.fuzzing.subject import Subject
from tests.fuzzing.subjects import SUBJECTS
from tests.fuzzing.trying import outcomes

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_first_cases_of_each_kind_end_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--share", "0.008", "--place", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == len(SUBJECTS)
    assert sum(int(count) for count in re.findall(r"(\d+) (?:answer|refused)", run.stdout)) > 400
    assert all(re.search(r"[1-9]\d* answer", line) for line in lines), (
        "not even the seeds are answered"
    )


def attempt(content: bytes, folder: Path) -> object:
    """What its first word says."""
    match content.split():
        case [b"answer"]:
            return (folder / "file").write_bytes(content)
        case [b"refuse"]:
            raise VideoError(f"{folder}/file is torn\x1b[2J")
        case [b"talk"]:
            raise VideoError("no " * 1000)
        case [b"trip"]:
            raise KeyError("x")
        case [b"compute"]:
            while True:
                pass
        case [b"wait"]:
            time.sleep(60)
        case [b"take"]:
            bytearray(200 << 20)
        case [b"die"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        case [b"leave"]:
            os._exit(3)
    return None


WORDS = ("answer", "refuse", "trip", "die", "answer", "talk", "compute", "wait", "take", "leave")
SUBJECT = Subject(
    "words", "tests", 10, (), lambda: [w.encode() for w in WORDS],
    mutators.text_of, attempt,
)  # fmt: skip


@pytest.mark.slow
def test_what_becomes_of_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("PROCESSOR_S", 1.5), ("WALL_S", 12.0), ("MEMORY_MIB", 100)):
        monkeypatch.setattr(trying, name, limit)
    ended = list(outcomes(SUBJECT, range(len(WORDS)), SUBJECT.seeds()))
    assert [one.case for one in ended] == [*range(len(WORDS))]
    assert [one.kind for one in ended] == [
        "answer", "refused", "exception", "crash", "answer", "sentence", "time", "hang", "memory",
        "crash",
    ]  # fmt: skip
    told = {WORDS[one.case]: one.detail for one in ended}
    assert told["refuse"] == "FOLDER/file is torn\\x1b[2J"
    assert told["die"] == "the process ended with SIGSEGV"
    assert told["leave"] == "the process ended with exit code 3"
    assert told["trip"] == "KeyError: 'x'"
    assert [one.is_finding for one in ended].count(False) == 3


def test_a_case_is_the_same_each_time() -> None:
    seeds = [b'{"a": [1, {"b": "c"}]}', b'{"d": null}']
    for mutate in (
        mutators.bytes_of,
        mutators.text_of,
        mutators.json_of,
        mutators.json_lines_of,
    ):
        subject = replace(SUBJECT, seeds=lambda: seeds, mutate=mutate)
        cases = [subject.case(number, seeds) for number in range(100)]
        assert cases == [subject.case(number, seeds) for number in range(100)]
        assert cases[:2] == seeds
        assert len(set(cases)) > 60
        assert max(map(len, cases)) <= 1_000_000


def test_empty_content_can_be_broken_too() -> None:
    for number in range(200):
        mutators.bytes_of(Random(number), b"", [b"", b"x"])
        mutators.text_of(Random(number), b"", [b""])


@pytest.mark.slow
def test_what_is_found_is_kept_and_counted(tmp_path: Path) -> None:
    ends = fuzz(SUBJECT, tmp_path / "found", 4)
    assert ends == {"answer": 1, "refused": 1, "findings": 2}
    kept = {file.name: file.read_bytes() for file in (tmp_path / "found").iterdir()}
    assert kept == {"words-2": b"trip", "words-3": b"die"}
