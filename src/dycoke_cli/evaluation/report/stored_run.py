"""A finished run as the report reads it: from its folder, or from a file that was sent.

The file to send has the record and the answers of a folder, without any text that people wrote or a
model said: names of videos, ids of questions and answers are hashes, which still say what is equal.
Its first line is the record with a digest of the others: the questions, then the answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.evaluation.answers import FILE, Answers
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets import rule_of
from dycoke_cli.evaluation.prediction import Prediction, Setup, rescored
from dycoke_cli.evaluation.run_record import FILE as RECORD
from dycoke_cli.evaluation.run_record import RunRecord, parse_record, read_record
from dycoke_cli.evaluation.scoring.verdicts import Verdict, read_verdicts
from dycoke_cli.storage.output_file import replace_content, unwritable
from dycoke_cli.unicode import display_name

SCHEMA = "dycoke.report-file/1"


@dataclass(frozen=True)
class StoredRun:
    """Record and answers of a run."""

    source: Path  # its folder or file, by which errors name it
    record: RunRecord
    answers: Mapping[str, Mapping[str, Prediction]]  # by setup id and question
    commits: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by setup id
    damaged: int = 0  # lines that are left out
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # of a judge

    @property
    def shown(self) -> str:
        """Its name in a sentence."""
        return display_name(self.source)

    @property
    def journal(self) -> Path:
        """The file with its answers."""
        return self.source / FILE if self.source.is_dir() else self.source

    def predictions(self, setup: Setup) -> Mapping[str, Prediction]:
        """Answers of a setup, by question."""
        return self.answers.get(setup.id, {})

    @property
    def sealed(self) -> StoredRun:
        """The run without texts; what a judge said of them, and choices by probability, go too."""
        if self.record.final:
            return self
        rule = rule_of(self.record.rows[0].setup.benchmark, self.record.rule)

        def sealed(answers: Mapping[str, Prediction]) -> dict[str, Prediction]:
            scored = answers if rule is None else rescored(rule, self.record.items, answers)
            return dict(map(_sealed, scored.values()))

        record = replace(
            self.record,
            items=tuple(map(_sealed_item, self.record.items)),
            failures={setup: sealed(one) for setup, one in self.record.failures.items()},
            judge=None,
            prompt="",
            warnings=(),
            by_probability=False,
            final=True,
        )
        kept = {row.setup.id for row in record.rows}
        answers = {setup: sealed(one) for setup, one in self.answers.items() if setup in kept}
        return replace(self, record=record, answers=answers, verdicts={})


def read_folder(folder: Path) -> StoredRun:
    """Read what `dycoke eval --out` wrote."""
    path, record = folder / FILE, read_record(folder)
    try:
        if record is None or not path.is_file():
            missing = RECORD if record is None else FILE
            raise UsageError(
                f"{display_name(folder)} has no {missing}: name a folder that `dycoke eval --out` "
                "wrote"
            )
        journal = Answers(path)
    except OSError as error:
        raise UsageError(f"{display_name(path)} can't be read ({error.strerror})") from error
    return StoredRun(
        folder,
        record,
        {row.setup.id: journal.predictions(row.setup) for row in record.asked_rows},
        {row.setup.id: frozenset(journal.commits([row.setup])) for row in record.asked_rows},
        journal.damaged,
        read_verdicts(folder),
    )


def write_report_file(path: Path, folder: Path) -> None:
    """Write the file to send of a run's folder."""
    run = read_folder(folder).sealed
    values = asdict(run.record)
    answers = [
        {"setup": setup.id, **to_dict(answer)}
        for setup in {row.setup.id: row.setup for row in run.record.rows}.values()
        for answer in run.predictions(setup).values()
    ]
    content = "".join(f"{json.dumps(line)}\n" for line in (*values.pop("items"), *answers)).encode()
    commits = {setup: sorted(of) for setup, of in run.commits.items()}
    begin = {"schema": SCHEMA, "digest": _hash(content), "commits": commits, **values}
    try:
        replace_content(path, f"{json.dumps(begin)}\n".encode() + content)
    except OSError as error:
        raise OutputError(unwritable(path, error, "--report-file")) from error


def read_report_file(path: Path) -> StoredRun:
    """Read a file that was sent."""
    begin, _, content = path.read_bytes().partition(b"\n")
    try:
        values = json.loads(begin)
        if values.pop("schema") != SCHEMA or values.pop("digest") != _hash(content):
            raise ValueError
        commits = {setup: frozenset(of) for setup, of in values.pop("commits").items()}
        lines = [json.loads(line) for line in content.splitlines()]
        count = len(values["places"])
        record = replace(parse_record(values, lines[:count]), final=True)
        answers: dict[str, dict[str, Prediction]] = {}
        for line in lines[count:]:
            setup, answer = line.pop("setup"), from_dict(Prediction, line)
            answers.setdefault(setup, {})[answer.item] = answer
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{display_name(path)} isn't a whole file of `dycoke eval --report-file`, nor a log of "
            "lmms-eval: get it from its sender again"
        ) from error
    return StoredRun(path, record, answers, commits)


def _sealed(answer: Prediction) -> tuple[str, Prediction]:
    item = _hash(answer.item.encode())
    error = answer.error and "it failed where it was asked"
    said = _hash(answer.said.encode())
    return item, replace(answer, item=item, said=said, error=error, warnings=())


def _sealed_item(item: Item) -> Item:
    return Item(
        id=_hash(item.id.encode()),
        video=_hash(item.video.encode()),
        question="",
        answer="",
        kind=item.kind,
        label=item.label,
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
