"""Record of a run: rows, questions and conditions, from which the report can be built again.

The first line of the file has all but the questions, which follow, one per line.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import FILE as ANSWERS
from dycoke_cli.evaluation.prediction import Answers, EvaluatedModel, Prediction
from dycoke_cli.evaluation.scoring.judge import FILE as VERDICTS
from dycoke_cli.evaluation.scoring.judge import PROMPTS, Verdicts
from dycoke_cli.kernels.processor import processor_name
from dycoke_cli.param import key_part
from dycoke_cli.runs.journal import check_own
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.storage.output_file import replace_content, unwritable
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.evaluation.eval_request import Evaluation


FILE = "run.jsonl"
SCHEMA = "dycoke.run/1"
_BEGIN = b'{"schema": "dycoke.run/'


@dataclass(frozen=True)
class RunRecord:
    """Rows, questions and conditions of a run."""

    rows: tuple[KeptRow, ...]  # rows in order, at least one
    items: tuple[Item, ...]  # questions in order
    frames: int | None  # frames per video; None with `--fps`
    conditions: Mapping[str, Any]  # other options that are the same for all rows
    metric: str  # see `dataset.About`
    macro: bool  # see `dataset.About`
    judge: str | None = None  # the judge's model, as requested; None without a judge
    prompt: str = ""  # key of the judge's prompt in `judge.PROMPTS`
    # failed questions, by setup id
    failures: Mapping[str, Mapping[str, Prediction]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # about the files of the benchmark, and about skipped rows
    date: str = ""  # start of the run in UTC
    versions: Mapping[str, str] = field(default_factory=dict)  # what asked the questions
    preset: str = ""  # name of the preset, see `presets`; empty for none

    @property
    def model(self) -> Mapping[str, Any]:
        """Fields of `EvaluatedModel`, the same in all rows."""
        return self.rows[0].setup.model


def record_of(
    evaluation: Evaluation,
    rows: Iterable[KeptRow],
    items: Iterable[Item],
    warnings: list[str],
) -> RunRecord:
    """Build the record of a run."""
    about, request = evaluation.dataset.about, evaluation.request
    return RunRecord(
        rows=tuple(rows),
        items=tuple(items),
        frames=evaluation.frames,
        conditions={
            "sampling": asdict(request.sampling),
            "generation": key_part(request.generation),
            "budget": {"video_tokens": request.video_tokens},
        },
        metric=about.metric,
        macro=about.macro,
        preset=evaluation.preset,
        judge=None if evaluation.judge is None else evaluation.judge.model,
        prompt=about.judge,
        warnings=tuple(warnings),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "transformers", "av")},
            "processor": processor_name(),
        },
    )


def write_record(folder: Path, record: RunRecord) -> None:
    """Write the record into a folder; replaces that of an earlier run."""
    _check_record(folder)
    path = folder / FILE
    values = {"schema": SCHEMA, "questions": len(record.items), **asdict(record)}
    items = values.pop("items")
    try:
        lines = (json.dumps(line) + "\n" for line in (values, *items))
        replace_content(path, "".join(lines).encode("ascii"))
    except OSError as error:
        raise OutputError(unwritable(path, error)) from error


def check_folder(folder: Path) -> None:
    """Check that a folder has no foreign files under the names that a run writes to."""
    _check_record(folder)
    for name, kind in ((ANSWERS, Answers), (VERDICTS, Verdicts)):
        check_own(folder / name, kind.begin, kind.what)


def _check_record(folder: Path) -> None:
    check_own(folder / FILE, _BEGIN, "a record of dycoke eval")


def read_record(folder: Path) -> RunRecord | None:
    """Read the record of a folder; None if there is none."""
    path = folder / FILE
    try:
        content = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(_unread(path)) from error
    try:
        values, *items = map(json.loads, content.splitlines())
        if values.pop("schema") != SCHEMA or len(items) != values.pop("questions"):
            raise ValueError
        record: RunRecord = from_dict(RunRecord, {**values, "items": items})
        # `Setup.model` is a plain dictionary, so `from_dict` hasn't checked its content.
        for row in record.rows:
            from_dict(EvaluatedModel, row.setup.model)
        if not record.rows or (record.judge is not None and record.prompt not in PROMPTS):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(_unread(path)) from error
    return record


def _unread(path: Path) -> str:
    return (
        f"{display_name(path)} is damaged, or another release wrote it: run the same `dycoke eval` "
        "with this --out again, which asks only what is missing"
    )
