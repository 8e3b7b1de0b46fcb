"""What `make mutants` breaks, in code made for it; and who should notice, in the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import PACKAGE, ROOT, SRC, drawn, mutants_of, noticing

CODE = '''"""Text 3."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import os
LIMIT: int = 3
def é(a, b: int = True) -> "x < 1":
    if not (a is not b and "é" in b):  # a comment: <
        a.append((1) - (b))
    a += 1
    return a
def stays(a):
    return a < 1  # equivalent: nobody asks
'''
BROKEN = [
    "3 => 4", "True => False", " => not ", "not  => ", "and => or", "is not => is", "in => not in",
    "a.append((1) - (b)) => pass", "1 => 2", "- => +", "a += 1 => pass", "1 => 2", "a => None",
]  # fmt: skip


def test_each_kind_of_place_is_broken_and_is_still_code() -> None:
    file = Path("some.py")
    found = mutants_of(file, CODE)
    assert sorted(one.shown(CODE).split(": ", 1)[1] for one in found) == sorted(BROKEN)
    for one in found:
        ast.parse(one.applied(CODE))
        assert one.applied(CODE) != CODE


@pytest.mark.slow
def test_every_place_of_the_package_is_still_code() -> None:
    chosen = drawn("", 600, "1")
    assert len({mutant for mutant, _ in chosen}) == 600
    for mutant, text in chosen:
        ast.parse(mutant.applied(text))
    assert drawn("storage", 9, "1") == drawn("storage", 9, "1") != drawn("storage", 9, "2")


@pytest.mark.slow
def test_who_should_notice_names_the_module_or_its_room() -> None:
    assert "tests/evaluation/scoring/test_choices.py" in noticing(
        Path("evaluation/scoring/rules.py")
    )
    for path in (SRC / PACKAGE / "storage").glob("*.py"):
        assert all((ROOT / test).exists() for test in noticing(path.relative_to(SRC / PACKAGE)))


def test_too_many_survivors_are_an_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(mutants, "PRELOADED", ())
    monkeypatch.setattr(mutants, "noticing", lambda file: ["tests"])
    for survivors, code in ((1, 0), (2, 1)):
        red = iter(
            [["tests/a.py::b"]] * (10 - survivors) + [[]] * 2 * survivors
        )  # asked again of the whole room
        monkeypatch.setattr(mutants, "red", lambda *_, red=red: next(red))
        assert mutants.main(["storage", "10", "--seed", "1"]) == code
        out = capsys.readouterr().out
        assert out.count("SURVIVED") == survivors
        assert out.endswith(f"{10 - survivors} of 10 mutants caught\n")
