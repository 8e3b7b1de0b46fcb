"""The answer of a server (`--server`), as the JSON object of `dycoke ask --json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT, Absent, Amount, Doc


@dataclass(frozen=True)
class RemoteModel:
    """The model that answered on a server."""

    name: str
    server: Annotated[str, Doc("Its address.")]
    revision: None = None
    dtype: None = None
    device: None = None


@dataclass(frozen=True)
class RemoteTokens:
    """Tokens as a server counts them; null where it doesn't say."""

    prompt: Annotated[int | None, Doc("Tokens of the prompt behind compression.", minimum=0)]
    visual: Annotated[int | None, Doc(minimum=0)] = None
    visual_kept: Annotated[int | None, Doc(minimum=0)] = None
    visual_active_in_decode: Annotated[float | None, Doc(minimum=0)] = None
    visual_read_per_step: Annotated[float | None, Doc(minimum=0)] = None
    text: Annotated[int | None, Doc(minimum=0)] = None
    generated: Annotated[int | None, Doc(minimum=0)] = None


@dataclass(frozen=True, kw_only=True)
class RemoteSeconds:
    """Wall time on this side; of vision, prefill and decode as the server says, or null."""

    load: None = None
    video_decode: Annotated[Amount, Doc("Decoding the video frames.")]
    request: Annotated[Amount, Doc("From the request to the answer, with the server's queue.")]
    vision: Annotated[float | None, Doc(minimum=0)] = None
    prefill: Annotated[float | None, Doc(minimum=0)] = None
    first_token: Annotated[
        float | None,
        Doc("TTFT on this side, of an answer that was streamed; else null.", minimum=0),
    ] = None
    decode: Annotated[float | None, Doc(minimum=0)] = None
    total: Annotated[Amount, Doc("video_decode and request.")]


@dataclass(frozen=True, kw_only=True)
class RemoteAnswer(Answer):
    """The answer of a server (`--server`), which tells less of itself."""

    model: RemoteModel  # type: ignore[assignment]
    method: Annotated[  # type: ignore[assignment]
        dict[str, Any] | None,
        Doc("As the server says, or as the request named it; null: the server's own."),
    ]
    tokens: RemoteTokens  # type: ignore[assignment]
    seconds: RemoteSeconds  # type: ignore[assignment]
    decode: None = None  # type: ignore[assignment]
    flops: None = None  # type: ignore[assignment]
    tokens_per_second: None = None
    bytes: None = None  # type: ignore[assignment]
    compared_to: Annotated[
        RemoteAnswer | Absent,
        Doc(
            "With --compare: the answer of the baseline (--method none).",
            **{"not": {"required": ["compared_to"]}},
        ),
    ] = ABSENT
