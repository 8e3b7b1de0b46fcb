"""Features of a question, and the ways to ask it: what doesn't hold where, and why.

The refusals of commands read their sentences here, and docs/dev/features.md shows the table. A
cell without a limit works as in `dycoke ask`, as far as the model allows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dycoke_cli.errors import UsageError

ASK, CHAT, BATCH, WORKERS, RAY = "ask", "chat", "batch", "workers", "ray"
SOCKET, V1, ELSEWHERE = "socket", "v1", "elsewhere"
WAYS = {
    ASK: "`ask`",
    CHAT: "`chat`",
    BATCH: "`batch`",
    WORKERS: "`batch --workers 2`",
    RAY: "`batch --engine ray`",
    SOCKET: "running `dycoke serve`",
    V1: "`--server` with `dycoke serve`",
    ELSEWHERE: "`--server` with another server",
}
"""What reaches a model, as the page of the table calls it. A running server is found by `ask` and
`batch` themselves."""
_RUNS = (BATCH, WORKERS, RAY)
_REMOTE = (V1, ELSEWHERE)

FEATURES = {
    "windows": "`--max-tokens`",
    "every": "`--every`",
    "when": "`--when`",
    "choices": "`--choices`",
    "schema": "`--schema`",
    "subtitles": "`--subtitles`",
    "parts": "`--start`, `--end`",
    "compare": "`--compare`",
    "stdin": "a video on stdin",
    "pictures": "pictures as frames",
    "several": "several videos together",
}


@dataclass(frozen=True)
class Limit:
    """Why a feature doesn't hold on some ways."""

    feature: str
    ways: tuple[str, ...]
    sentence: str  # of the error; has names in braces that `refusal` fills in
    # whether neither the protocol nor the model is against it
    missing: bool = False


_NO_PROBABILITIES = (
    "the server gives no probabilities of the options: only `dycoke serve` does; ask a model on "
    "this machine, or leave the options out"
)
LIMITS = (
    Limit(
        "windows",
        _REMOTE,
        "--max-tokens and --server exclude each other; use one of them",
    ),
    Limit(
        "every",
        (CHAT,),
        "a chat goes on about the frames that it began with, and --every asks about each part: "
        "`dycoke ask VIDEO QUESTION --every 30s` does",
    ),
    Limit(
        "when",
        (CHAT,),
        "a chat goes on about the frames that it began with, and --when searches in parts: "
        "`dycoke ask VIDEO QUESTION --when` does",
    ),
    Limit("when", (ELSEWHERE,), _NO_PROBABILITIES),
    Limit("choices", (ELSEWHERE,), _NO_PROBABILITIES),
    Limit(
        "compare",
        _REMOTE,
        "--compare and --server exclude each other; use one of them",
    ),
    Limit(
        "stdin",
        (CHAT,),
        "chat reads questions from stdin; save the video to a file, and name that",
    ),
    Limit(
        "stdin",
        _RUNS,
        "the list of videos is read from stdin, one path per line; save the video to a file, and "
        "name that",
    ),
    Limit(
        "several",
        _RUNS,
        "a question of a batch is about one video; `dycoke ask VIDEO VIDEO QUESTION` shows "
        "several together",
        missing=True,
    ),
    Limit(
        "several",
        _REMOTE,
        "--server takes one video, for a request has the times of the frames of one; leave the "
        "others out",
    ),
)


def limit(feature: str, way: str) -> Limit | None:
    """The limit of a feature on a way; None where it holds."""
    return next((one for one in LIMITS if one.feature == feature and way in one.ways), None)


def refusal(feature: str, way: str, **names: str) -> UsageError:
    """The error that refuses a feature on a way that has a limit for it.

    Args:
        names: what is in braces in the sentence.
    """
    found = limit(feature, way)
    assert found is not None, f"{feature} holds by {way}"
    return UsageError(found.sentence.format(**names))


def refusal_of_flag(command: str, flag: str) -> UsageError | None:
    """The refusal of a flag that a command can't have and others do; None of any other flag."""
    feature = next((name for name, shown in FEATURES.items() if f"`{flag}`" in shown), "")
    return None if limit(feature, command) is None else refusal(feature, command)
