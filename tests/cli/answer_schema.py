"""JSON Schema of the objects that `dycoke ask --json` writes."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_AMOUNT = {"type": "number", "minimum": 0}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object that has these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_WHERE = {"schema": {"const": "dycoke.answer/1"}, "version": _TEXT, "video": _TEXT}

_METHOD = {
    "type": "object",
    "properties": {"name": {"enum": ["none", "dycoke", "random"]}},
    "required": ["name"],
    "if": {"properties": {"name": {"enum": ["dycoke", "random"]}}},
    "then": {
        "required": [
            "ttm",
            "merge_ratio",
            "window",
            "kv_prune",
            "prune_ratio",
            "prune_layer",
            "recall",
            "recall_threshold",
            "variant",
            "positions",
            "dp_cache",
        ]
    },
}

_KEYS = {
    **_WHERE,
    "question": _TEXT,
    "answer": _TEXT,
    "finish_reason": {"enum": ["stop", "length"]},
    "seed": _or_null(_COUNT),
    "model": _object({"name": _TEXT, "revision": _or_null(_TEXT), "dtype": _TEXT, "device": _TEXT}),
    "method": _METHOD,
    "frames": _object(
        {
            "count": {"type": "integer", "minimum": 1},
            "timestamps_s": {"type": "array", "items": _AMOUNT},
        }
    ),
    "tokens": _object(
        {
            "visual": _COUNT,
            "visual_kept": _COUNT,
            "visual_active_in_decode": _AMOUNT,
            "text": _COUNT,
            "generated": {"type": "integer", "minimum": 1},
        }
    ),
    "decode": _object(
        {
            "steps": _COUNT,
            "choices_renewed": _COUNT,
            "tokens_evicted": _COUNT,
            "tokens_recalled": _COUNT,
        }
    ),
    "flops": _object({"prefill": _AMOUNT, "decode": _AMOUNT, "uncompressed": _AMOUNT}),
    "seconds": _object(
        {
            "load": _AMOUNT,
            "video_decode": _AMOUNT,
            "vision": _AMOUNT,
            "prefill": _AMOUNT,
            "first_token": _AMOUNT,
            "decode": _AMOUNT,
            "total": _AMOUNT,
        }
    ),
    "tokens_per_second": _or_null(_AMOUNT),
    "bytes": _object(
        {
            "weights": _COUNT,
            "kv_cache": _COUNT,
            "kv_active": _COUNT,
            "peak_working": _or_null(_COUNT),
            "peak_total": _or_null(_COUNT),
        }
    ),
    "warnings": {"type": "array", "items": _TEXT},
}

UNCOMPARED = _object(_KEYS)
ANSWER = _object({**_KEYS, "compared_to": UNCOMPARED}, optional=("compared_to",))
ERROR = _object(
    {
        **_WHERE,
        "question": _or_null(_TEXT),
        "error": _object({"code": {"type": "string", "pattern": "^[a-z_]+$"}, "message": _TEXT}),
    },
)
