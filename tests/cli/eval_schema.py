"""JSON Schema of the object that `dycoke eval --json` writes."""

from __future__ import annotations

from .schema_parts import AMOUNT, COUNT, TEXT, closed, keyed, or_null

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_DIFFERENCE = or_null({"type": "number", "minimum": -1, "maximum": 1})


def _mean(name: str) -> dict[str, object]:
    return {
        "questions": {"type": "integer", "minimum": 1},
        name: _SHARE,
        "standard_error": AMOUNT,
        "difference": _DIFFERENCE,
        "difference_error": or_null(AMOUNT),
    }


_ROW = closed(
    {
        "method": TEXT,
        "spec": TEXT,
        "parameters": {"type": "object"},
        "frames": or_null(COUNT),
        **_mean("accuracy"),
        "by_type": keyed(closed(_mean("accuracy"))),
        "by_label": keyed(closed(_mean("accuracy"))),
        "by_part": keyed(closed(_mean("mean"))),
        "kept_before_llm": or_null(_SHARE),
        "kept_in_decode": or_null(_SHARE),
        "kept_in_pruned_layers": or_null(_SHARE),
        "changed": or_null(COUNT),
        "fixed": or_null(COUNT),
        "broken": or_null(COUNT),
        "seconds": AMOUNT,
        "bytes": AMOUNT,
    }
)

_CHANGE = closed(
    {
        "spec": TEXT,
        "video": TEXT,
        "item": TEXT,
        "kind": TEXT,
        "question": TEXT,
        "answer": TEXT,
        "uncompressed": TEXT,
        "said": TEXT,
        "outcome": {"enum": ["fixed", "broken", "still right", "still wrong"]},
    }
)

_WHERE = {"schema": {"const": "dycoke.eval/1"}, "version": TEXT, "benchmark": TEXT}

_MODEL = closed(
    {"name": TEXT, "revision": or_null(TEXT), "weights": TEXT, "dtype": TEXT, "device": TEXT}
)

REPORT = closed(
    {
        **_WHERE,
        "commits": {"type": "array", "items": TEXT},
        "edition": TEXT,
        "split": {"enum": ["validation", "test"]},
        "videos": {"type": "integer", "minimum": 1},
        "frames": or_null({"type": "integer", "minimum": 1}),
        "model": _MODEL,
        "journal": TEXT,
        "rows": {"type": "array", "items": _ROW, "minItems": 1},
        "warnings": {"type": "array", "items": TEXT},
        "changes": {"type": "array", "items": _CHANGE},
    },
    optional=("changes",),
)

ERROR = closed(
    {
        **_WHERE,
        "error": closed({"code": {"type": "string", "pattern": "^[a-z_]+$"}, "message": TEXT}),
    }
)
