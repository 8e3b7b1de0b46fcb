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
from importlib import import_module
from pathlib import Path

from tests.fuzzing import files, foreign, models, strangers, texts, videos
from tests.fuzzing.subject import Subject
from tests.fuzzing.trying import Case, outcomes

SUBJECTS: list[Subject] = [
    *(*videos.SUBJECTS, *texts.SUBJECTS, *models.SUBJECTS),
    *(*files.SUBJECTS, *foreign.SUBJECTS, *strangers.SUBJECTS),
]
"""In the order of the table."""
PLACE = Path(__file__).parents[1] / "runs" / "fuzz"


def first_cases(subject: Subject, share: float) -> list[Case]:
    """A share of a subject's cases, at least its seeds and one more; what it needs is imported."""
    for module in subject.modules:
        import_module(module)
    seeds = subject.seeds()
    count = max(len(seeds) + 1, round(subject.cases * share))
    return [(subject, case, seeds) for case in range(count)]


def fuzz(subject: Subject) -> Counter[str]:
    """Try cases of a subject, and keep those that are findings; how many ended how."""
    cases, ends = first_cases(subject, 1.0), Counter[str]()
    for (_, case, seeds), one in zip(cases, outcomes(cases), strict=True):
        ends["findings" if one.is_finding else one.kind] += 1
        if one.is_finding:
            PLACE.mkdir(parents=True, exist_ok=True)
            (PLACE / f"{subject.name}-{case}").write_bytes(subject.case(case, seeds))
            print(f"{subject.name}, case {one.case}: {one.kind}: {one.detail[:200]!r}", flush=True)
    return ends


def main() -> None:
    """Try all kinds of input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", action="append", help="these alone (a part of their names)")
    parser.add_argument("--case", type=int, help="one alone, in this process")
    given = parser.parse_args()
    os.nice(15)
    chosen = [s for s in SUBJECTS if not given.subject or any(n in s.name for n in given.subject)]
    if given.case is not None:
        # Without any limits, and its traceback is seen.
        (subject,) = chosen
        with tempfile.TemporaryDirectory() as folder:
            print(subject.attempt(subject.case(given.case, subject.seeds()), Path(folder)))
        return
    found = 0
    for subject in chosen:
        ends = fuzz(subject)
        told = ", ".join(f"{count:,} {end}" for end, count in sorted(ends.items()))
        print(f"{subject.group}, {subject.name}: {told}", flush=True)
        found += ends["findings"]
    if found:
        sys.exit(f"{found} cases ended in neither an answer nor one sentence")


if __name__ == "__main__":
    main()
