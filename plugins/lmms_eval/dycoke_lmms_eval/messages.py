"""Messages of a task of lmms-eval: a conversation about one video, or without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dycoke_cli.errors import UsageError

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """A video, or the part of it that is asked about."""

    path: str  # of the file
    start_s: float | None = None  # seconds from the video's first frame; None is its start
    end_s: float | None = None  # the same; None is its end


@dataclass(frozen=True)
class Chat:
    """A conversation whose last turn is to be answered."""

    # what it is about; it stands before all text. None is a question without a video.
    video: Shown | None
    question: str  # of the last turn
    history: tuple[tuple[str, str], ...] = ()  # the turns before, each with its answer


def read_chat(messages: Sequence[Message]) -> Chat:
    """The conversation of messages as `doc_to_messages` of a task makes them."""
    roles = [message["role"] for message in messages]
    wanted = ["user" if number % 2 == 0 else "assistant" for number in range(len(roles))]
    if not roles or len(roles) % 2 == 0 or roles != wanted:
        raise UsageError(
            "only turns of user and assistant are supported, the first and last the user's; the "
            f"task has {', '.join(roles) or 'none'}"
        )
    video, first = _first_turn(_parts(messages[0]))
    texts = [first, *(_text(_parts(message)) for message in messages[1:])]
    earlier = zip(texts[:-1:2], texts[1::2], strict=True)
    return Chat(video, texts[-1], tuple(earlier))


def _parts(message: Message) -> Sequence[Message]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _first_turn(parts: Sequence[Message]) -> tuple[Shown | None, str]:
    kinds = [part["type"] for part in parts]
    other = next((kind for kind in kinds if kind not in ("text", "video")), None)
    if other is not None:
        raise UsageError(f"only questions about a video are supported; the task has {_a(other)}")
    if kinds.count("video") > 1:
        raise UsageError(
            f"only questions about one video are supported; the task has {kinds.count('video')}"
        )
    if "video" not in kinds:
        return None, _text(parts)
    if kinds[0] != "video":
        raise UsageError("only a video before the text is supported; the task has it behind a text")
    return _shown(parts[0]), _text(parts[1:])


def _text(parts: Sequence[Message]) -> str:
    kinds = [part["type"] for part in parts]
    if kinds != ["text"]:
        raise UsageError(
            "only turns of one text are supported, a video before the first alone; the task has "
            f"{' and '.join(map(_a, kinds)) or 'no text'}"
        )
    text: str = parts[0]["text"]
    return text


def _shown(part: Message) -> Shown:
    """A video with its part, as the two forms of lmms-eval write them."""
    start, end, url = part.get("start_time"), part.get("end_time"), part["url"]
    if isinstance(url, Mapping):
        start, end = url.get("video_start", start), url.get("video_end", end)
        url = url.get("url") or url.get("path") or url.get("video")
    if not isinstance(url, str):
        raise UsageError(f"only a video's path is supported; the task has {_a(type(url).__name__)}")
    return Shown(url, start, end)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
