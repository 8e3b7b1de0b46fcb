"""The fuzzer: broken input of every kind, each of which must end in an answer or in one sentence.

Run as `python -m tests.fuzz --write`. It goes on where it was stopped, and tries again what was
tried of other code; what was found lies in runs/fuzz/found, and a case of it is seen by
`python -m tests.fuzz --subject NAME --case NUMBER`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.kept_tables import keep
from benchmarks.page import ROOT, where
from dycoke_cli.version import running_commit
from tests.fuzzing.record import Block, Record, page
from tests.fuzzing.subject import Subject
from tests.fuzzing.subjects import SUBJECTS
from tests.fuzzing.trying import outcomes

PLACE = ROOT / "runs" / "fuzz"
BLOCK = 250
"""Cases between two lines of the record."""


def fuzz(subject: Subject, record: Record, place: Path, cases: int) -> list[Block]:
    """Try the cases of a subject that its code hasn't been tried with."""
    for module in subject.modules:
        import_module(module)
    left = record.left(subject, cases, BLOCK)
    seeds = subject.seeds() if left else ()
    tried = []
    for numbers in left:
        ended = list(outcomes(subject, numbers, seeds))
        block = Block.of(subject, running_commit() or "unknown", ended)
        for case, kind, detail in block.findings:
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{subject.name}-{case}").write_bytes(subject.case(case, seeds))
            print(f"{subject.name}, case {case}: {kind}: {detail[:200]!r}", flush=True)
        record.add(block)
        tried.append(block)
    return tried


def main() -> None:
    """Try all that is left, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", action="append", help="these alone (a part of their names)")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases that are due")
    parser.add_argument("--case", type=int, help="one alone, in this process")
    parser.add_argument("--place", type=Path, default=PLACE, help="of the record and the findings")
    parser.add_argument("--write", action="store_true", help="into docs/data/tables")
    given = parser.parse_args()
    os.nice(15)
    chosen = [s for s in SUBJECTS if not given.subject or any(n in s.name for n in given.subject)]
    if given.case is not None:
        show(chosen, given.case)
        return
    record = Record(given.place / "record.jsonl")
    found = 0
    for subject in chosen:
        blocks = fuzz(subject, record, given.place / "found", round(subject.cases * given.share))
        number = sum(block.end - block.begin for block in blocks)
        seconds = sum(block.seconds for block in blocks)
        print(f"{subject.group}, {subject.name}: {number} cases in {seconds:.0f} s", flush=True)
        found += sum(len(block.findings) for block in record.of(subject))
    if given.write:
        keep(page(record, SUBJECTS, where()), "fuzz")
    if found:
        sys.exit(f"{found} cases ended in neither an answer nor one sentence")


def show(subjects: Sequence[Subject], case: int) -> None:
    """Try a case of a subject without any limits: its traceback is seen."""
    (subject,) = subjects
    with tempfile.TemporaryDirectory() as folder:
        print(subject.attempt(subject.case(case, subject.seeds()), Path(folder)))


if __name__ == "__main__":
    main()
