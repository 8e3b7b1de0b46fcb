"""The turns of CI: each comes, parts make a whole, and green ones grow old."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import turns
from tests.turns import ROOT, TABLE, Turn, of_commit, read, stale

TURNS = read(TABLE.read_text("utf-8"))


def test_each_turn_comes_and_its_program_is_there() -> None:
    assert {of_commit(TURNS, f"{number:040x}").name for number in range(len(TURNS))} == {
        turn.name for turn in TURNS
    }
    assert of_commit(TURNS, f"{3 * len(TURNS) + 2:040x}") == TURNS[2]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for turn in TURNS:
        targets = re.findall(r"make ([\w-]+)", turn.command)
        modules = re.findall(r"python -m (\S+)", turn.command)
        scripts = re.findall(r"python ([\w/]+\.py)", turn.command)
        assert targets or modules or scripts
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), turn
        assert all(map(find_spec, modules)), turn
        assert all((ROOT / script).exists() for script in scripts), turn


def test_parts_make_a_whole() -> None:
    parts = defaultdict(list)
    for turn in TURNS:
        for part, of in re.findall(r"\b(\d+)/(\d+)\b", turn.command):
            parts[turn.name.partition("-")[0], int(of)].append(int(part))
    assert {name for name, _ in parts} == {"extended"}
    assert all(found == [*range(1, of + 1)] for (_, of), found in parts.items())


def test_a_line_is_written_as_it_is_read(tmp_path: Path) -> None:
    table = tmp_path / "turns.txt"
    lines = "# a comment: vllm\n", f"{TURNS[0]}\n", f"{TURNS[-1]}\n"
    table.write_text("".join(lines))
    green = replace(TURNS[-1], commit="0123abcd", day="2026-11-28")
    turns.write(green, table)
    assert table.read_text() == "".join(lines[:2]) + f"{green}\n"
    assert read(table.read_text()) == [TURNS[0], green]


def test_a_green_turn_grows_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_COMMITS", 1)

    def git(*arguments: str) -> str:
        own = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path))
        return subprocess.check_output(["git", *own, *arguments], text=True).strip()

    git("init", "--quiet", "--initial-branch", "main")
    commits = []
    for message in "one", "two", "three":
        git("commit", "--quiet", "--allow-empty", "--message", message)
        commits.append(git("rev-parse", "--short=8", "HEAD"))
    git("checkout", "--quiet", "--orphan", "other")
    git("commit", "--quiet", "--allow-empty", "--message", "elsewhere")
    other = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "main")
    found = [
        Turn(f"t{at}", commit, "-", "true") for at, commit in enumerate([*commits, other, "-"])
    ]
    assert [turn.age(tmp_path) for turn in found] == [2, 1, 0, None, None]
    assert [sentence.partition(":")[0] for sentence in stale(found, tmp_path)] == [
        "t0 was green 2 commits ago", "t3 was never green", "t4 was never green"
    ]  # fmt: skip


def test_a_turn_runs_with_the_programs_of_this_environment(
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = "python -c 'import sys; print(sys.prefix)'; exit 77"
    assert Turn("t", "-", "-", command).run() == turns.SKIPPED
    assert f"\n{sys.prefix}\nturn t: can't run on this machine" in capfd.readouterr().out
