"""The body of a request to /v1/chat/completions: what it asks, checked; nothing is opened here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_specs import parse_spec
from dycoke_cli.request import Request
from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import is_valid
from dycoke_cli.video.sampling import Sampling

# What would change an answer, and the values that don't. All that isn't listed is left unread.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([], ""),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "audio": (),
}
_MOST_MESSAGES = 1000
_MOST_VIDEOS = 16
_ALL_FRAMES = -1  # of vLLM's num_frames
_JPEGS = "data:video/jpeg;"


@dataclass(frozen=True)
class VideoPart:
    """A video of a message.

    Args:
        url: data:, file: or http(s):; None where the handle alone names it.
        uuid: a handle of the client's choice for the encoded video.
    """

    url: str | None
    uuid: str | None = None

    @property
    def is_frames(self) -> bool:
        """Whether it is a list of JPEGs, which have no time of their own."""
        return self.url is not None and self.url[: len(_JPEGS)].lower() == _JPEGS


@dataclass(frozen=True)
class ChatRequest:
    """A question about videos, or about none.

    Args:
        videos: of all turns, in order; they are shown before the first.
        question: the last turn.
        history: earlier questions with their answers.
        sampling: which frames are read.
        method: which visual tokens are dropped.
        generation: how the answer is generated.
        stream: whether the answer is sent while it is generated.
        include_usage: whether a stream ends with the figures.
        against: the method that is shown beside it, where both are inspected.
    """

    videos: tuple[VideoPart, ...]
    question: str
    history: tuple[tuple[str, str], ...]
    sampling: Sampling
    method: Method
    generation: GenerationOptions
    stream: bool
    include_usage: bool
    against: Method | None = None


def parse(body: bytes, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body.

    Args:
        body: JSON.
        defaults: for all that it doesn't say; `model` is the one that is served.
        most_frames: of a video, whatever the body says.

    Raises:
        Refused: it isn't such a body, or asks for what isn't supported.
        UsageError: a value out of range.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body isn't JSON") from error
    given = _object(given, "the body")
    model = given.get("model")
    if model is not None and model != defaults.model:
        raise Refused(
            404, f"this server has the model {defaults.model} alone (/v1/models)", "model_not_found"
        )
    for key, harmless in _UNSUPPORTED.items():
        if given.get(key) is not None and given[key] not in harmless:
            raise Refused(400, f"{key} isn't supported; leave it out")
    videos, turns = _turns(_list(given.get("messages"), "messages"))
    *history, (question, _) = turns
    if not question.strip():
        raise Refused(400, "the last message has no text: put a question beside the video")
    options = _object(given.get("stream_options") or {}, "stream_options")
    return ChatRequest(
        videos=videos,
        question=question,
        history=tuple(history),
        sampling=_sampling(
            given,
            defaults.sampling,
            most_frames,
            bool(videos) and all(video.is_frames for video in videos),
        ),
        method=_method(given, "method") or defaults.method,
        generation=_generation(given, defaults.generation),
        stream=_flag(given, "stream"),
        include_usage=_flag(options, "include_usage"),
        against=_method(given, "against"),
    )


def _turns(messages: list[Any]) -> tuple[tuple[VideoPart, ...], list[tuple[str, str]]]:
    """The videos; and the questions with their answers, the last of which has none yet."""
    if not 1 <= len(messages) <= _MOST_MESSAGES:
        raise Refused(400, f"messages must be from 1 to {_MOST_MESSAGES}")
    videos: list[VideoPart] = []
    turns: list[tuple[str, str]] = []
    before = ""
    open_turn = False
    for message in messages:
        message = _object(message, "a message")
        role = message.get("role")
        text = ""
        for part in _parts(message.get("content")):
            if isinstance(part, VideoPart):
                if role != "user":
                    raise Refused(400, "only messages of the user have videos")
                videos.append(part)
            else:
                text = f"{text}\n{part}" if text else part
        if role in ("system", "developer"):
            before += f"{text}\n\n"  # no template of a video model is sure to have a place for it
        elif role == "user":
            if open_turn:
                turns[-1] = ("\n".join(filter(None, (turns[-1][0], text))), "")
            else:
                turns.append((before + text, ""))
                before, open_turn = "", True
        elif role == "assistant":
            if not open_turn:
                raise Refused(400, "a message of the assistant must follow one of the user")
            turns[-1] = (turns[-1][0], text)
            open_turn = False
        else:
            raise Refused(400, "the role of a message must be system, user or assistant")
    if not open_turn:
        raise Refused(400, "the last message must be of the user")
    if len(videos) > _MOST_VIDEOS:
        raise Refused(400, f"there may be {_MOST_VIDEOS} videos, not {len(videos)}")
    return tuple(videos), turns


def _parts(content: Any) -> Iterator[VideoPart | str]:
    if content is None:
        return
    if isinstance(content, str):
        yield _text(content, "content")
        return
    for part in _list(content, "content"):
        part = _object(part, "a part of a message")
        kind = part.get("type")
        if kind == "text":
            yield _text(part.get("text"), "text")
        elif kind == "video_url":
            yield VideoPart(_url(part.get("video_url")), _uuid(part))
        elif kind == "input_video":
            yield VideoPart(_input_video(part.get("input_video")), _uuid(part))
        else:
            raise Refused(
                400, "a part of a message must be text, video_url or input_video (images: as "
                "frames of a video, data:video/jpeg;base64,…)",
            )  # fmt: skip


def _url(given: Any) -> str | None:
    """Of `"video_url": "…"` or `{"url": "…"}`; null beside a uuid."""
    if isinstance(given, Mapping):
        given = given.get("url")
    return None if given is None else _text(given, "video_url")


def _input_video(given: Any) -> str | None:
    """Of `"input_video": {"data": "BASE64"}` (llama.cpp), or with a url in place of data."""
    if given is None:
        return None
    given = _object(given, "input_video")
    if given.get("data") is None:
        return _url(given)
    data = _text(given["data"], "input_video.data")
    return data if data[:5].lower() == "data:" else f"data:video/mp4;base64,{data}"


def _uuid(part: Mapping[str, Any]) -> str | None:
    given = part.get("uuid")
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= 200:
        raise Refused(400, "uuid must be a text of 1 to 200 characters")
    return given


def _sampling(given: Mapping[str, Any], default: Sampling, most: int, chosen: bool) -> Sampling:
    """Which frames are read; all of those that the client has chosen itself."""
    media = _object(given.get("media_io_kwargs") or {}, "media_io_kwargs")
    video = _object(media.get("video") or {}, "media_io_kwargs.video")
    frames, fps = video.get("num_frames"), video.get("fps")
    for name, value, kinds in (("num_frames", frames, int), ("fps", fps, (int, float))):
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise Refused(400, f"media_io_kwargs.video.{name} must be a number")
    if frames == _ALL_FRAMES or (chosen and frames is None):
        frames = most
    if fps is not None:
        if not fps > 0:
            raise Refused(400, "media_io_kwargs.video.fps must be above 0")
        count = most if frames is None else min(frames, most)
        return replace(default, fps=min(float(fps), 1000.0), max_frames=count)
    if frames is not None:
        return replace(default, frames=min(frames, most), fps=None, max_frames=None)
    if default.fps is not None:
        return replace(default, max_frames=min(default.max_frames or most, most))
    return replace(default, frames=min(default.frames, most))


def _method(given: Mapping[str, Any], name: str) -> Method | None:
    own = _object(given.get("dycoke") or {}, "dycoke")
    if unknown := own.keys() - {"method", "against"}:
        raise Refused(400, f"dycoke takes method, not {', '.join(sorted(unknown))[:200]}")
    spec = own.get(name)
    return None if spec is None else parse_spec(_text(spec, f"dycoke.{name}")).create()


def _generation(given: Mapping[str, Any], default: GenerationOptions) -> GenerationOptions:
    tokens = given.get("max_completion_tokens")
    changed = {
        "max_new_tokens": given.get("max_tokens") if tokens is None else tokens,
        "temperature": given.get("temperature"),
        "seed": given.get("seed"),
    }
    try:
        return replace(default, **{k: v for k, v in changed.items() if v is not None})
    except UsageError as error:
        raise UsageError(str(error).replace("max_new_tokens", "max_tokens")) from error


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value not in (None, True, False):
        raise Refused(400, f"{name} must be true or false")
    return bool(value)


def _text(given: Any, name: str) -> str:
    if not isinstance(given, str) or not is_valid(given):
        raise Refused(400, f"{name} must be a text")
    return given


def _list(given: Any, name: str) -> list[Any]:
    if not isinstance(given, list):
        raise Refused(400, f"{name} must be a list")
    return given


def _object(given: Any, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Refused(400, f"{name} must be an object")
    return given
