"""The record of the fuzzer: what was tried of which code, and what was found; and its page."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzzing.subject import Subject
from tests.fuzzing.trying import ANSWER, MEMORY_MIB, PROCESSOR_S, REFUSED, Outcome


@dataclass(frozen=True)
class Block:
    """Some cases of a subject that were tried one after the other: a line of the record."""

    subject: str  # its name
    begin: int  # the first case
    end: int  # the first that isn't among them
    code: str  # of the subject when they were tried
    commit: str  # of the working tree
    answered: int  # how many were answered
    refused: int  # how many ended in a sentence
    seconds: float  # of processor time, of all of them
    worst_s: float  # of the case that took the most
    worst_mib: float  # likewise, of memory
    # those that ended otherwise: case, kind and detail
    findings: list[tuple[int, str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject, commit: str, tried: Sequence[Outcome]) -> Block:
        """Cases that were tried."""
        kinds = Counter(outcome.kind for outcome in tried)
        return cls(
            subject.name, tried[0].case, tried[-1].case + 1, subject.code, commit,
            kinds[ANSWER], kinds[REFUSED],
            round(sum(outcome.seconds for outcome in tried), 3),
            max(outcome.seconds for outcome in tried), max(outcome.mib for outcome in tried),
            [(one.case, one.kind, one.detail) for one in tried if one.is_finding],
        )  # fmt: skip


class Record:
    """The blocks in a file, which only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.blocks = [Block(**json.loads(line)) for line in lines]

    def add(self, block: Block) -> None:
        """Write a block down."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(block)) + "\n")
        self.blocks.append(block)

    def of(self, subject: Subject) -> list[Block]:
        """The blocks of the code that there is now, by their first case."""
        found = {b.begin: b for b in self.blocks if (b.subject, b.code) == _name(subject)}
        return [found[begin] for begin in sorted(found)]

    def left(self, subject: Subject, cases: int, size: int) -> list[range]:
        """The blocks of a subject that weren't tried with the code that there is now."""
        there = {(block.begin, block.end) for block in self.of(subject)}
        due = (range(begin, min(begin + size, cases)) for begin in range(0, cases, size))
        return [block for block in due if (block.start, block.stop) not in there]


def _name(subject: Subject) -> tuple[str, str]:
    return subject.name, subject.code


def page(record: Record, subjects: Sequence[Subject], where: str) -> str:
    """The tables that the command keeps, as Markdown: each input, and what was found."""
    rows = [_row(subject.group, subject.name, record.of(subject)) for subject in subjects]
    blocks = [block for subject in subjects for block in record.of(subject)]
    found = sum(len(block.findings) for block in blocks)
    cases = sum(block.end - block.begin for block in blocks)
    commits = ", ".join(dict.fromkeys(block.commit for block in blocks))
    seconds = sum(block.seconds for block in blocks)
    return "\n".join(
        [
            f"**{cases:,} cases**: {sum(b.answered for b in blocks):,} were answered, "
            f"{sum(b.refused for b in blocks):,} ended in a one-line error, and {found:,} are "
            f"findings. They took {seconds / 60:.0f} minutes of CPU time. The limits of a case are "
            f"{PROCESSOR_S:g} s of CPU time and {MEMORY_MIB} MiB of memory. {where} Code of "
            f"{commits}.",
            "",
            "| input | | cases | answered | one-line error | finding | worst s | worst MiB |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
            *rows,
            "",
            *_findings(record, subjects),
        ]
    )


def _row(group: str, name: str, blocks: Sequence[Block]) -> str:
    counts = [
        sum(block.end - block.begin for block in blocks),
        sum(block.answered for block in blocks),
        sum(block.refused for block in blocks),
        sum(len(block.findings) for block in blocks),
    ]
    worst_s = max((block.worst_s for block in blocks), default=0.0)
    worst_mib = max((block.worst_mib for block in blocks), default=0.0)
    numbers = " | ".join(f"{count:,}" for count in counts)
    return f"| {group} | {name} | {numbers} | {worst_s:.1f} | {worst_mib:.0f} |"


def _findings(record: Record, subjects: Iterable[Subject]) -> list[str]:
    """What was found, alike ones together, and whether it is fixed."""
    lines = []
    for subject in subjects:
        now = {case for block in record.of(subject) for case, _, _ in block.findings}
        tried = {case for b in record.of(subject) for case in range(b.begin, b.end)}
        alike: dict[tuple[str, str], set[int]] = {}
        for block in record.blocks:
            for case, kind, detail in block.findings if block.subject == subject.name else ():
                alike.setdefault((kind, _shape(detail)), set()).add(case)
        for (kind, detail), cases in alike.items():
            left = cases & now
            state = "**open**" if left else "fixed" if cases <= tried else "not tried again"
            lines.append(f"| {subject.name} | {kind} | {_cell(detail)} | {len(cases)} | {state} |")
    if not lines:
        return ["Nothing was found in this code."]
    return ["| input | what | | cases | now |", "|---|---|---|--:|---|", *lines]


def _shape(detail: str) -> str:
    """What was found without what differs from case to case."""
    return re.sub(r"\d+(?:\.\d+)?", "N", detail)[:160]


def _cell(text: str) -> str:
    text = "".join(sign if sign.isprintable() else "·" for sign in text)
    return "`" + text.replace("|", "¦").replace("`", "'") + "`" if text else ""
