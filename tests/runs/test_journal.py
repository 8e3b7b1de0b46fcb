"""What all files of lines have in common: no half line stays, whatever the disk does."""

from __future__ import annotations

import json
import resource
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import OutputError, VideoError
from dycoke_cli.evaluation.prediction import Answers, Prediction, Setup, open_answers
from dycoke_cli.evaluation.scoring.judge import Verdict, Verdicts, open_verdicts
from dycoke_cli.runs.batch_journal import ResultsFile, open_results
from dycoke_cli.runs.journal import Journal
from tests.runs.parts import settled_in
from tests.runs.pretended import make_clips, outcome_of

SETUP = Setup("0.1.0", "shapes", "1", "test", {"name": "mini"}, {"name": "none"}, 32)


def add_answer(answers: Answers, number: int) -> None:
    answer = Prediction(f"i{number}", "red " * 99, True, {}, 9, 4, 1.5, 3, 0.25, 7)
    answers.add(SETUP, answer, "abc")


def add_verdict(verdicts: Verdicts, number: int) -> None:
    verdicts.add(Verdict(f"{number}", True, 5, None, "judge", "answer/1", "2026-01-02", "ok" * 99))


def add_result(results: ResultsFile, number: int) -> None:
    ((ask,),) = settled_in(make_clips(results.path.parent / f"clips{number}", f"{number}.mp4"))
    results.add(outcome_of(ask, VideoError("it is torn " * 29)))


Kind = tuple[Callable[[], AbstractContextManager[Journal]], Callable[[Journal, int], None]]

KINDS: dict[str, tuple[Callable[[Path], AbstractContextManager[Any]], Callable[..., None]]] = {
    "results": (lambda folder: open_results(folder / "results.jsonl"), add_result),
    "answers": (open_answers, add_answer),
    "verdicts": (open_verdicts, add_verdict),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """What opens a journal in the folder of the test, and what adds a line to it."""
    opened, add = KINDS[request.param]
    return (lambda: opened(tmp_path)), add


def test_a_full_disk_leaves_whole_lines(kind: Kind) -> None:
    opened, add = kind
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened() as journal:
        for number in range(2):  # of an evaluation, the first has a line for its setup, too
            before = journal.path.read_bytes()
            try:
                # Room for a part of the line.
                resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 300, limits[1]))
                with pytest.raises(OutputError, match=r"can't be written .*; free some space"):
                    add(journal, number)
                assert journal.path.read_bytes() == before
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            add(journal, number)
            assert journal.path.read_bytes().startswith(before)
        whole = journal.path.read_bytes()
    with opened() as journal:
        assert journal.damaged == 0
    assert journal.path.read_bytes() == whole


# What may stand where a line has something else: each of another kind, or too large.
OTHERS = (None, [], {}, "x", -1, 10**400, 1e999, [[]] * 3, True, {"a": [1]}, "\ud800", "=1")


def lines_of_others(line: bytes) -> list[bytes]:
    """A line with each value replaced by each other one; the checksum fits, if it has one."""
    found = [b"[" * 50_000, b"3", b"[]", b'"x"', b"null", line + b"}", line[: len(line) // 2]]
    whole = json.loads(line)
    for key in whole:
        for other in OTHERS:
            changed = whole | {key: other}
            if "check" in changed and key != "check":
                del changed["check"]
                changed["check"] = zlib.crc32(json.dumps(changed, sort_keys=True).encode())
            found.append(json.dumps(changed).encode())
        found.append(json.dumps({k: v for k, v in whole.items() if k != key}).encode())
    return found


def test_a_line_that_is_none_is_dropped_or_named(kind: Kind) -> None:
    opened, add = kind
    with opened() as journal:
        add(journal, 0)
        add(journal, 1)
    lines = journal.path.read_bytes().splitlines()
    for other in lines_of_others(lines[-1]):
        journal.path.write_bytes(b"\n".join([*lines[:-1], other, lines[-1]]) + b"\n")
        with suppress(OutputError), opened() as again:
            whole = len(lines) + (not again.damaged)
            assert journal.path.read_bytes().count(b"\n") == whole
