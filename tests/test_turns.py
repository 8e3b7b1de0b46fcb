"""The turns of CI: each comes, and parts make a whole."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.util import find_spec

from tests.turns import ROOT, TABLE, of_commit, read

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
