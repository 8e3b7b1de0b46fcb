"""What the replies of all protocols have: JSON, figures of an answer, and events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from dycoke_cli import Answer
from dycoke_cli.answer.json_schema import ABSENT, to_dict
from dycoke_cli.server.refused import in_keys
from dycoke_cli.unicode import to_json

STILL_HERE = b": waiting\n\n"
"""A comment, which no client reads: it keeps a connection open, and finds out that it is closed."""


def json_reply(
    document: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A reply with a JSON object."""
    return Response(to_json(document), status, headers, "application/json")


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens as OpenAI counts them, and under `dycoke` what was dropped and how long it took.

    `prompt_tokens` are those that the language model read: without the visual tokens that were
    dropped before it. The keys of `dycoke` are those of `dycoke ask --json`.
    """
    tokens = answer.tokens
    prompt = tokens.visual_kept + tokens.text
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.generated,
        "total_tokens": prompt + tokens.generated,
        "prompt_tokens_details": {
            "cached_tokens": tokens.reused,
            "video_tokens": tokens.visual_kept,
        },
        "dycoke": {
            "method": answer.method,
            "frames": answer.frames.count,
            "tokens": to_dict(tokens),
            "visual_dropped": tokens.visual - tokens.visual_kept,
            **_present(answer, "windows", "subtitles"),
            "seconds": to_dict(answer.seconds),
            "seed": answer.seed,
            "warnings": [*dict.fromkeys(map(in_keys, answer.warnings))],
            **typed(answer),
        },
    }


def typed(answer: Answer) -> dict[str, Any]:
    """The keys of an answer that its options add; none where it had any answer."""
    return _present(answer, "choice", "probabilities", "margin", "mean", "scoring")


def _present(answer: Answer, *names: str) -> dict[str, Any]:
    values = {name: getattr(answer, name) for name in names}
    return {name: to_dict(value) for name, value in values.items() if value is not ABSENT}


def event(document: dict[str, Any], name: str | None = None) -> bytes:
    """A server-sent event; of /v1/responses it has a name."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {to_json(document)}\n\n".encode()
