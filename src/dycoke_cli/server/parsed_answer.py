"""An answer as its client gets it: text, and the calls of tools in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from dycoke_cli.server.forced_call import ForcedCallParser
    from dycoke_cli.server.tool_calls import CallParser, ToolCall


@dataclass(frozen=True)
class NumberedCall:
    """Call of a tool in an answer."""

    call: ToolCall  # what is called
    index: int  # of the call in the answer
    # by which a client sends the result
    id: str = field(default_factory=lambda: f"call_{uuid4().hex}")

    @property
    def document(self) -> dict[str, Any]:
        """The call as OpenAI's clients read it."""
        function = {"name": self.call.name, "arguments": self.call.arguments}
        return {"id": self.id, "type": "function", "function": function}


class ParsedAnswer:
    """One answer while it is generated.

    Args:
        parser: of its calls; None where it can't have any.

    Attributes:
        text: so far, beside the calls.
        calls: so far.
    """

    def __init__(
        self, parser: CallParser | ForcedCallParser | None, *, named: bool = False
    ) -> None:
        self._parser, self._named, self.text = parser, named, ""
        self.calls: list[NumberedCall] = []

    def add(self, text: str) -> list[str | NumberedCall]:
        """Add a stretch of the answer; returns what is new for the client."""
        return self._taken([text] if self._parser is None else self._parser.feed(text))

    def end(self) -> list[str | NumberedCall]:
        """End the answer; returns what is new for the client."""
        return self._taken([] if self._parser is None else self._parser.end())

    @property
    def end_reason(self) -> str:
        """Why it ended, in OpenAI's words; a call that the request names is no reason there."""
        return "tool_calls" if self.calls and not self._named else "stop"

    @property
    def content(self) -> dict[str, Any]:
        """The keys of its message."""
        if not self.calls:
            return {"content": self.text}
        calls = [call.document for call in self.calls]
        return {"content": self.text or None, "tool_calls": calls}

    def _taken(self, found: Iterable[str | ToolCall]) -> list[str | NumberedCall]:
        taken: list[str | NumberedCall] = []
        for one in found:
            if isinstance(one, str):
                if self.calls and one.isspace():  # between calls, and behind the last
                    continue
                self.text += one
                taken.append(one)
            else:
                call = NumberedCall(one, len(self.calls))
                self.calls.append(call)
                taken.append(call)
        return taken
