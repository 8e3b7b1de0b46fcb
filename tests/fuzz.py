"""The fuzzer: broken input of every kind, each of which must end in an answer or in one sentence.

Run as `python -m tests.fuzz`. What was found lies in runs/fuzz, and a case of it is seen by
`python -m tests.fuzz --subject NAME --case NUMBER`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.fuzzing.subject import Subject
from tests.fuzzing.subjects import SUBJECTS
from tests.fuzzing.trying import outcomes

PLACE = Path(__file__).parents[1] / "runs" / "fuzz"


def fuzz(subject: Subject, place: Path, cases: int) -> Counter[str]:
    """Try the first cases of a subject, and keep those that are findings; how many ended how."""
    for module in subject.modules:
        import_module(module)
    seeds, ends = subject.seeds(), Counter[str]()
    for one in outcomes(subject, range(cases), seeds):
        ends["findings" if one.is_finding else one.kind] += 1
        if one.is_finding:
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{subject.name}-{one.case}").write_bytes(subject.case(one.case, seeds))
            print(f"{subject.name}, case {one.case}: {one.kind}: {one.detail[:200]!r}", flush=True)
    return ends


def main() -> None:
    """Try all kinds of input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", action="append", help="these alone (a part of their names)")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases that are due")
    parser.add_argument("--case", type=int, help="one alone, in this process")
    parser.add_argument("--place", type=Path, default=PLACE, help="of the findings")
    given = parser.parse_args()
    os.nice(15)
    chosen = [s for s in SUBJECTS if not given.subject or any(n in s.name for n in given.subject)]
    if given.case is not None:
        show(chosen, given.case)
        return
    found = 0
    for subject in chosen:
        ends = fuzz(subject, given.place, max(1, round(subject.cases * given.share)))
        told = ", ".join(f"{count:,} {end}" for end, count in sorted(ends.items()))
        print(f"{subject.group}, {subject.name}: {told}", flush=True)
        found += ends["findings"]
    if found:
        sys.exit(f"{found} cases ended in neither an answer nor one sentence")


def show(subjects: Sequence[Subject], case: int) -> None:
    """Try a case of a subject without any limits: its traceback is seen."""
    (subject,) = subjects
    with tempfile.TemporaryDirectory() as folder:
        print(subject.attempt(subject.case(case, subject.seeds()), Path(folder)))


if __name__ == "__main__":
    main()
