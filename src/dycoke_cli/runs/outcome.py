"""The outcome of a question in a run: a line of the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dycoke_cli.answer.answer import Error
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.models.explaining import explain


@dataclass(frozen=True)
class Outcome:
    """One line."""

    key: str  # of the question, see `Plan.key`
    line: dict[str, Any]  # the object, an answer or an error
    # to answer, after the video was encoded. Questions that were answered together have equal
    # shares.
    seconds: float = 0.0
    together: int = 1  # how many questions were answered with this one, itself included

    @classmethod
    def of(cls, ask: Ask, event: Answered | Failed) -> Outcome:
        """The line of a question, from its last event."""
        assert ask.key is not None, "only questions of a run have lines"
        if isinstance(event, Failed):
            return cls(ask.key, ask.failure(Error.of(explain(event.error))))
        return cls(ask.key, event.answer.to_dict(), event.seconds, event.together)

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return "error" in self.line

    @property
    def warned(self) -> bool:
        """Whether the answer has warnings."""
        return bool(self.line.get("warnings"))

    @property
    def refused(self) -> bool:
        """Whether the question wasn't put to the model, so that nothing was measured."""
        return self.line.get("finish_reason") == "refused"


def reason(line: dict[str, Any]) -> str:
    """The video and the reason, from the line of a question that failed."""
    message = str(line["error"]["message"])
    return message if line["video"] in message else f"{line['video']}: {message}"
