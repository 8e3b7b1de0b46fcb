"""What the task files beside it name; lmms-eval imports it as a module of its own."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def videos(doc: Document, lmms_eval_specific_kwargs: Any = None) -> list[Any]:
    return [doc["video"]] if doc["video"] else []


def text(doc: Document, lmms_eval_specific_kwargs: Any = None) -> str:
    return str(doc["question"])


def messages(doc: Document, lmms_eval_specific_kwargs: Any = None) -> list[Document]:
    """As they stand in the row: all that a task may think of."""
    return list(doc["messages"])


def rounds(
    doc: Document,
    lmms_eval_specific_kwargs: Any = None,
    round_idx: int | None = None,
    previous_output: list[str] | None = None,
    previous_round_info: Any = None,
) -> Any:
    """As many rounds as the row says; each after the first asks with the answer before it."""
    if round_idx is None:
        return doc["question"]
    told = (previous_round_info or 0) + 1
    more = f"{doc['question']} {len(previous_output or [])} {told}"
    return videos(doc), more, round_idx >= doc["rounds"], previous_output, told


def exact(doc: Document, answers: list[Any]) -> dict[str, float]:
    return {"exact": float(answers[0] == doc["answer"])}


def nothing(doc: Document, answers: list[Any]) -> dict[str, float]:
    return {"exact": 0.0}
