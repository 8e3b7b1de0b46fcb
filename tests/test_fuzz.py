"""A small fuzz, `python -m tests.fuzz --write` is the large one; and that it sees what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from dycoke_cli.errors import VideoError
from tests.fuzzing import mutators, trying
from tests.fuzzing.record import Block, Record, page
from tests.fuzzing.subject import Subject
from tests.fuzzing.trying import Outcome, outcomes

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_first_cases_of_each_kind_end_well(tmp_path: Path) -> None:
    """And the second time there is nothing left to try."""
    command = [sys.executable, "-m", "tests.fuzz", "--share", "0.008", "--place", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    record = Record(tmp_path / "record.jsonl")
    assert sum(block.end for block in record.blocks) > 400
    assert all(block.answered for block in record.blocks), "not even the seeds are answered"


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
    "words", "tests", 10, ("errors.py",), (), lambda: [w.encode() for w in WORDS],
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


def block(begin: int, end: int, *, code: str, findings: list[tuple[int, str, str]]) -> Block:
    return Block("words", begin, end, code, "abc", end - begin, 0, 6.0, 1.0, 2.0, findings)


def test_a_record_resumes_and_knows_its_code(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "record.jsonl"
    found = [(4, "exception", "KeyError: '17'"), (9, "exception", "KeyError: '3'")]
    Record(path).add(block(0, 10, code="other", findings=found))
    Record(path).add(block(10, 20, code=SUBJECT.code, findings=[]))
    record = Record(path)
    assert record.left(SUBJECT, 25, 10) == [range(0, 10), range(20, 25)]
    assert "not tried again" in page(record, [SUBJECT], "Here.")
    record.add(block(0, 10, code=SUBJECT.code, findings=found[:1]))
    lines = page(record, [SUBJECT], "Here.").splitlines()
    assert lines[0].startswith("**20 cases**: 20 were answered, 0 ended in a one-line error")
    assert "| tests | words | 20 | 20 | 0 | 1 | 1.0 | 2 |" in lines
    assert lines[-1] == "| words | exception | `KeyError: 'N'` | 2 | **open** |"
    record.add(block(0, 10, code=SUBJECT.code, findings=[]))
    assert "| 2 | fixed |" in page(Record(path), [SUBJECT], "Here.")
    assert record.left(SUBJECT, 20, 10) == []


def test_a_block_counts_how_cases_ended() -> None:
    kinds = ("answer", "refused", "answer", "crash")
    tried = [Outcome(n, kind, "x", n / 10, n) for n, kind in enumerate(kinds, 7)]
    made = Block.of(SUBJECT, "abc", tried)
    assert (made.begin, made.end, made.answered, made.refused) == (7, 11, 2, 1)
    assert (made.worst_s, made.worst_mib) == (1.0, 10)
    assert made.findings == [(10, "crash", "x")]
    assert Counter(kinds)["crash"] == len(made.findings)
