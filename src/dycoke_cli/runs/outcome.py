"""The outcome of a question: a line of the results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dycoke_cli.answer.answer import SCHEMA, Answer, Error, Failure
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.models.explaining import explain
from dycoke_cli.runs.jobs import Job, JobQuestion
from dycoke_cli.runs.plan import Plan
from dycoke_cli.unicode import valid
from dycoke_cli.video.sampling import Sampling


@dataclass(frozen=True)
class Outcome:
    """One line.

    Args:
        key: of the question, see `Plan.key`.
        line: the object, an answer or an error.
        seconds: to answer, after the video was encoded. Questions that were answered together have
            equal shares.
        together: how many questions were answered with this one, itself included.
    """

    key: str
    line: dict[str, Any]
    seconds: float = 0.0
    together: int = 1

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return "error" in self.line

    @property
    def refused(self) -> bool:
        """Whether the question wasn't put to the model, so that nothing was measured."""
        return self.line.get("finish_reason") == "refused"


def answered(job: Job, question: JobQuestion, plan: Plan, answer: Answer) -> Outcome:
    """The line of an answer."""
    about = _about(job, question, plan)
    return Outcome(about["key"], replace(plan.noted(answer), **about).to_dict())


def failed(job: Job, question: JobQuestion, plan: Plan, error: BaseException) -> Outcome:
    """The line of a question that has no answer."""
    about = _about(job, question, plan)
    document = Error.of(explain(error))
    document = replace(document, message=plan.advise(document.message))
    return Outcome(about["key"], to_dict(Failure(schema=SCHEMA, error=document, **about)))


def all_failed(job: Job, plan: Plan, error: BaseException) -> list[Outcome]:
    """The lines of a video none of whose questions has an answer."""
    return [failed(job, question, plan, error) for question in job.questions]


def reason(line: dict[str, Any]) -> str:
    """The video and the reason, from the line of a question that failed."""
    message = str(line["error"]["message"])
    return message if line["video"] in message else f"{line['video']}: {message}"


def _about(job: Job, question: JobQuestion, plan: Plan) -> dict[str, Any]:
    """The keys by which a line identifies its question."""
    part = {} if job.sampling is None else _part(job.sampling)
    return {
        **part,
        "id": question.id,
        "video": valid(job.video.shown),  # a file name may have bytes that aren't UTF-8
        "question": question.text,
        "key": plan.key(job, question),
        "digest": job.digest,
    }


def _part(sampling: Sampling) -> dict[str, float]:
    """Start and end of a job's own sampling, where it has them."""
    times = {"start": sampling.start_s, "end": sampling.end_s}
    return {key: time for key, time in times.items() if time is not None}
