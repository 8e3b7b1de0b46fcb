"""A journal that was cut off at any byte goes on from its whole lines, and loses none of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycoke_cli.runs.journal import Journal
from tests.properties import QUICK
from tests.runs.test_journal import KINDS

LINES = 3


def entries(journal: Journal) -> object:
    """What a journal knows."""
    about = vars(journal)
    return {name: about[name] for name in about if name in ("_states", "_predictions", "verdicts")}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kill_leaves_the_lines_before_it(kind: str) -> None:
    opened, add = KINDS[kind]
    whole: list[bytes] = []
    known: list[object] = []
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as journal:
        for number in range(LINES):
            whole.append(journal.path.read_bytes())
            known.append(entries(type(journal)(journal.path)))
            add(journal, number)
        whole.append(journal.path.read_bytes())
        known.append(entries(type(journal)(journal.path)))
        name = journal.path.name

    @settings(QUICK, max_examples=24)
    @given(st.integers(0, len(whole[-1])), st.booleans(), st.booleans())
    def killed(left: int, zeros: bool, has_room: bool) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            if not (zeros or has_room):  # half a line is cut off without a copy of the file
                patch.delattr(os, "replace")
            path = Path(folder, name)
            # What a disk didn't get to is zeros, or isn't there.
            rest = b"\0" * (len(whole[-1]) - left) if zeros else b""
            path.write_bytes(whole[-1][:left] + rest)
            lines = whole[-1][:left].count(b"\n")
            intact = b"".join(whole[-1].splitlines(keepends=True)[:lines])
            with opened(Path(folder)) as journal:
                kept = path.read_bytes()
                assert kept == intact
                assert journal.damaged == (intact != whole[-1][:left] + rest)
                done = max(n for n, content in enumerate(whole) if kept.startswith(content))
                assert entries(journal) == known[done]
                for number in range(done, LINES):
                    add(journal, number)
                assert entries(journal) == known[-1]
            assert path.read_bytes().startswith(kept)
            with opened(Path(folder)) as again:
                assert (again.damaged, entries(again)) == (0, known[-1])

    killed()
