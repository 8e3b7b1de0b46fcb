"""The answers of a run: what was written is there, what was damaged isn't; one run at a time."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.errors import OutputError
from dycoke_cli.evaluation import prediction, run_record
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import FILE, Prediction, Setup, open_answers
from dycoke_cli.evaluation.run_record import RunRecord, write_record
from dycoke_cli.evaluation.scoring import judge

MODEL = {"name": "mini", "revision": None, "weights": "real", "dtype": "float32", "device": "cpu"}
SETUP = Setup("0.1.0", "shapes", "1", "test", MODEL, {"name": "none"}, 32)


def answer(number: int) -> Prediction:
    return Prediction(
        f"i{number}", f"réd\n{number} \ud800", True, {"told": 0.5}, 9, 4, 1.5, 3, 0.25, 7
    )


def fill(folder: Path, count: int = 4, commit: str | None = "abc") -> None:
    with open_answers(folder) as journal:
        for number in range(count):
            journal.add(SETUP, answer(number), commit)


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE).read_bytes().splitlines(keepends=True)


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    fill(tmp_path / "not" / "there")
    with open_answers(tmp_path / "not" / "there") as journal:
        assert journal.damaged == 0
        assert journal.predictions(SETUP) == {f"i{n}": answer(n) for n in range(4)}
        assert journal.commits([SETUP]) == {"abc"}


def test_the_file_says_what_each_setup_is(tmp_path: Path) -> None:
    fill(tmp_path)
    fill(tmp_path)
    first, *rest = [json.loads(line) for line in lines(tmp_path)]
    assert first["about"] == dataclasses.asdict(SETUP)
    assert all("about" not in line and line["setup"] == first["setup"] for line in rest)


@pytest.mark.parametrize(
    "change",
    [
        {"benchmark": "other"},
        {"edition": "2"},
        {"split": "validation"},
        {"model": {"name": "mini", "weights": "sha256:1"}},
        {"method": {"name": "dycoke", "merge_ratio": 0.7}},
        {"frames": 16},
        {"max_tokens": 64},
        {"frames": None, "options": {"fps": 2.0}},
    ],
)
def test_answers_of_another_setup_are_others(tmp_path: Path, change: dict[str, object]) -> None:
    fill(tmp_path)
    with open_answers(tmp_path) as journal:
        assert journal.predictions(dataclasses.replace(SETUP, **change)) == {}


def test_another_version_resumes_what_this_one_began(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_answers(tmp_path) as journal:
        later = dataclasses.replace(SETUP, version="0.2.0")
        assert len(journal.predictions(later)) == 4


@dataclasses.dataclass(frozen=True)
class LaterSetup(Setup):
    """A setup as it may be one day."""

    camera: str = "still"


@dataclasses.dataclass(frozen=True)
class LaterPrediction(Prediction):
    """An answer as it may be one day."""

    joules: float | None = None


def test_answers_are_found_when_setups_and_answers_get_another_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    monkeypatch.setattr(prediction, "Setup", LaterSetup)
    monkeypatch.setattr(prediction, "Prediction", LaterPrediction)
    later = LaterSetup(**dataclasses.asdict(SETUP))
    assert later.id != SETUP.id
    with open_answers(tmp_path) as journal:
        assert journal.damaged == 0
        assert journal.predictions(later)["i0"] == LaterPrediction(**vars(answer(0)))
        assert journal.commits([later]) == {"abc"}
        assert journal.predictions(dataclasses.replace(later, camera="moving")) == {}
        journal.add(later, answer(9), "abc")
    with open_answers(tmp_path) as journal:
        assert len(journal.predictions(later)) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"\xff\xfe\n",
        lambda line: b"\n",
        lambda line: b'{"setup": ' + b"[" * 900 + b"]" * 900 + b', "check": 1}\n',
        lambda line: line[30:],
        lambda line: line[:-1] + line,
    ],
)
def test_a_damaged_line_is_dropped_and_the_others_stay(tmp_path: Path, damage: object) -> None:
    fill(tmp_path)
    content = lines(tmp_path)
    content[2] = damage(content[2])  # type: ignore[operator]
    (tmp_path / FILE).write_bytes(b"".join(content))
    with open_answers(tmp_path) as journal:
        assert journal.damaged == 1
        assert sorted(journal.predictions(SETUP)) == ["i0", "i2", "i3"]
    with open_answers(tmp_path) as journal:
        assert journal.damaged == 0


def test_every_single_byte_that_changes_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    sound = (tmp_path / FILE).read_bytes()
    start = sound.index(b"\n") + 1
    for position in range(start, len(sound), 7):
        changed = bytearray(sound)
        changed[position] ^= 1
        (tmp_path / FILE).write_bytes(changed)
        with open_answers(tmp_path) as journal:
            assert (journal.predictions(SETUP), journal.damaged) == ({}, 1), position


def write_nothing(folder: Path) -> None:
    rows = (KeptRow(*parse_specs("none"), {}, SETUP),)
    write_record(folder, RunRecord(rows, (), 32, {}, "accuracy", False))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (FILE, fill),
        (judge.FILE, lambda folder: judge.open_verdicts(folder).__enter__()),
        (run_record.FILE, write_nothing),
    ],
)
def test_what_writes_a_file_looks_at_it_first(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    """Whoever calls it: the command has looked at all of them before."""
    (tmp_path / name).write_text('{"schema": "dycoke.answer/1", "key": "0"}\n')
    with pytest.raises(OutputError, match=rf"{name} isn't a .* of dycoke eval, and stays as it is"):
        write(tmp_path)
    assert (tmp_path / name).read_text() == '{"schema": "dycoke.answer/1", "key": "0"}\n'


def test_a_repair_that_fails_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    path = tmp_path / FILE
    damaged = b"".join(
        line[:20] + line[21:] if n == 2 else line for n, line in enumerate(lines(tmp_path))
    )
    path.write_bytes(damaged)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"), open_answers(tmp_path):
        pass
    assert path.read_bytes() == damaged
