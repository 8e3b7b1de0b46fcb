"""JSON Schema of the objects that `dycoke ask --json` writes."""

from __future__ import annotations

from .schema_parts import AMOUNT, COUNT, TEXT, closed, or_null

_WHERE = {"schema": {"const": "dycoke.answer/1"}, "version": TEXT, "video": TEXT}

_METHOD = {
    "type": "object",
    "properties": {"name": {"enum": ["none", "dycoke", "random", "fastv"]}},
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
    "question": TEXT,
    "answer": TEXT,
    "finish_reason": {"enum": ["stop", "length"]},
    "seed": or_null(COUNT),
    "model": closed({"name": TEXT, "revision": or_null(TEXT), "dtype": TEXT, "device": TEXT}),
    "method": _METHOD,
    "frames": closed(
        {
            "count": {"type": "integer", "minimum": 1},
            "timestamps_s": {"type": "array", "items": AMOUNT},
        }
    ),
    "tokens": closed(
        {
            "visual": COUNT,
            "visual_kept": COUNT,
            "visual_active_in_decode": AMOUNT,
            "text": COUNT,
            "generated": {"type": "integer", "minimum": 1},
        }
    ),
    "decode": closed(
        {
            "steps": COUNT,
            "choices_renewed": COUNT,
            "tokens_evicted": COUNT,
            "tokens_recalled": COUNT,
        }
    ),
    "flops": closed({"prefill": AMOUNT, "decode": AMOUNT, "uncompressed": AMOUNT}),
    "seconds": closed(
        {
            "load": AMOUNT,
            "video_decode": AMOUNT,
            "vision": AMOUNT,
            "prefill": AMOUNT,
            "first_token": AMOUNT,
            "decode": AMOUNT,
            "total": AMOUNT,
        }
    ),
    "tokens_per_second": or_null(AMOUNT),
    "bytes": closed(
        {
            "weights": COUNT,
            "kv_cache": COUNT,
            "kv_host": COUNT,
            "kv_active": COUNT,
            "peak_working": or_null(COUNT),
            "peak_total": or_null(COUNT),
        }
    ),
    "warnings": {"type": "array", "items": TEXT},
}

UNCOMPARED = closed(_KEYS)
ANSWER = closed({**_KEYS, "compared_to": UNCOMPARED}, optional=("compared_to",))
ERROR = closed(
    {
        **_WHERE,
        "question": or_null(TEXT),
        "error": closed({"code": {"type": "string", "pattern": "^[a-z_]+$"}, "message": TEXT}),
    },
)
