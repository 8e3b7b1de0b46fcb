"""A finished run as the report reads it, from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.answers import FILE, Answers
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.evaluation.run_record import FILE as RECORD
from dycoke_cli.evaluation.run_record import RunRecord, read_record
from dycoke_cli.evaluation.scoring.verdicts import Verdict, read_verdicts
from dycoke_cli.unicode import display_name


@dataclass(frozen=True)
class StoredRun:
    """Record and answers of a run."""

    source: Path  # its folder or log, by which errors name it
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
