"""Calls of strict tools, in an answer that may be a text: arguments are held to the schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.server.forced_call import ForcedCall

if TYPE_CHECKING:
    from dycoke_cli.server.tool_calls import CallMarks


@dataclass(frozen=True)
class StrictCalls:
    """Calls that an answer may have, in or in place of a text."""

    # that may be called; those whose arguments may be any object have a schema of that
    tools: tuple[Mapping[str, Any], ...]
    most_one: bool = False  # whether the answer ends behind its first call

    def form(self, marks: CallMarks) -> StructuredOutput:
        """Form of the answer: free text until the opening of a call, then a call of the tools."""
        call = ForcedCall(self.tools, named=False).form()
        return StructuredOutput("text", _grammar(marks, call.as_part, self.most_one))


def _grammar(marks: CallMarks, call: str, most_one: bool) -> str:
    """Lark, as llguidance has it, of a text with calls."""
    # A token that stands for a text of its own is no text to the library, so each is named. A text
    # may have any of them but the one that opens a call.
    tokens = {text: f"<[{number}]>" for text, number in marks.added.items()}
    opened, closed = tokens.pop(marks.opening, None), tokens.get(marks.closing)
    passed = f"(TEXT ({' | '.join(tokens.values())}))*" if tokens else ""
    rules = (
        f"start: call | {passed} TEXT" if most_one else f"start: call* {passed} TEXT",
        f'call: {passed} opening "\\n"? object "\\n"? closing',
        "opening: opening_text" + (f" | TEXT {opened}" if opened else ""),
        # Lazy: the first such text opens a call, whatever comes behind it.
        f"opening_text[lazy]: TEXT {json.dumps(marks.opening)}",
        f"closing: {json.dumps(marks.closing)}" + (f" | {closed}" if closed else ""),
        f"object: %json {call}",
        "TEXT: /(?s:.)*/",
    )
    return "\n".join(rules)
