"""What came of a question: a line of the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dycoke_cli import __version__
from dycoke_cli.engine.answer import SCHEMA, Answer
from dycoke_cli.explaining import explain
from dycoke_cli.runs.jobs import Asked, Job
from dycoke_cli.runs.plan import Plan
from dycoke_cli.unicode import valid


@dataclass(frozen=True)
class Outcome:
    """One line.

    Args:
        key: of the question, see `Plan.key`.
        line: the object, an answer or an error.
        seconds: that answering took once the video was encoded; of questions that were answered
            together, the share of each.
    """

    key: str
    line: dict[str, Any]
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return "error" in self.line


def answered(job: Job, asked: Asked, plan: Plan, answer: Answer) -> Outcome:
    """The line of an answer."""
    known = answer.to_dict()
    known = {name: known[name] for name in known if name not in ("schema", "version", "question")}
    return _outcome(job, asked, plan, known)


def failed(job: Job, asked: Asked, plan: Plan, error: BaseException) -> Outcome:
    """The line of a question that has no answer."""
    reason = explain(error)
    return _outcome(job, asked, plan, {"error": {"code": reason.code, "message": str(reason)}})


def all_failed(job: Job, plan: Plan, error: BaseException) -> list[Outcome]:
    """The lines of a video none of whose questions has an answer."""
    return [failed(job, asked, plan, error) for asked in job.questions]


def _outcome(job: Job, asked: Asked, plan: Plan, known: dict[str, Any]) -> Outcome:
    key = plan.key(job, asked)
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
