"""Export of a conversation: Markdown, or JSON Lines with the answers' objects."""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.answer.answer import Answer
from dycoke_cli.unicode import to_json, valid

_LINES = (".jsonl", ".json")
SUFFIXES = (".md", ".txt", *_LINES)
"""Of the files that `save` writes."""


def save(path: str, answers: Sequence[Answer]) -> None:
    """Write answers to a new file, in order."""
    lines = [to_json(answer.to_dict()) for answer in answers]
    if not path.lower().endswith(_LINES):
        lines = [_paragraphs(answer) for answer in answers]
    with open(path, "x", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _paragraphs(answer: Answer) -> str:
    quote = "\n".join(f"> {line}" for line in answer.question.splitlines())
    about = f"*{answer.video} · {answer.model.name} · {answer.method['name']}*"
    warnings = "".join(f"\nWarning: {warning}\n" for warning in answer.warnings)
    return valid(f"{quote}\n\n{answer.answer.strip()}\n\n{about}\n{warnings}")
