"""What came of a question: a line of the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dycoke_cli import __version__
from dycoke_cli.batch.jobs import Asked, Job
from dycoke_cli.batch.plan import How
from dycoke_cli.engine.answer import SCHEMA, Answer
from dycoke_cli.explaining import explain
from dycoke_cli.unicode import valid


@dataclass(frozen=True)
class Outcome:
    """One line.

    Args:
        key: of the question, see `How.key`.
        line: the object, an answer or an error.
    """

    key: str
    line: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return "error" in self.line


def answered(job: Job, asked: Asked, how: How, answer: Answer) -> Outcome:
    """The line of an answer."""
    known = answer.to_dict()
    known = {name: known[name] for name in known if name not in ("schema", "version", "question")}
    return _outcome(job, asked, how, known)


def failed(job: Job, asked: Asked, how: How, error: BaseException) -> Outcome:
    """The line of a question that has no answer."""
    reason = explain(error)
    return _outcome(job, asked, how, {"error": {"code": reason.code, "message": str(reason)}})


def all_failed(job: Job, how: How, error: BaseException) -> list[Outcome]:
    """The lines of a video none of whose questions has an answer."""
    return [failed(job, asked, how, error) for asked in job.questions]


def _outcome(job: Job, asked: Asked, how: How, known: dict[str, Any]) -> Outcome:
    key = how.key(job, asked)
    line = {
        "schema": SCHEMA,
        "version": __version__,
        "id": asked.id,
        "video": valid(job.video.shown),
        "question": asked.text,
        **known,
        "key": key,
        "digest": job.digest,
    }
    return Outcome(key, line)
