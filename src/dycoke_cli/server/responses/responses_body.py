"""The body of a request to /v1/responses: what it asks, checked; nothing is opened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.request import Request
from dycoke_cli.server.bodies import parse_json
from dycoke_cli.server.chat_request import (
    ChatRequest,
    check_in_windows,
    check_model,
    frames_of,
    last_question,
    max_tokens,
    methods,
)
from dycoke_cli.server.generation_request import generation
from dycoke_cli.server.messages import Parts, Turns, VideoPart, part_of, picture, turns_of
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    INPUT_IMAGE,
    INPUT_TEXT,
    ITEMS,
    OUTPUT_TEXT,
    RESPONSES,
    RESPONSES_STREAM,
    flag_of,
    list_of,
    object_of,
    options_of,
    text_of,
)
from dycoke_cli.server.responses.response_store import HeldResponse

LOGPROBS = "message.output_text.logprobs"
_TEXTS = {"input_text": INPUT_TEXT, "output_text": OUTPUT_TEXT}


@dataclass(frozen=True)
class ResponsesRequest:
    """A question in a conversation that the server may hold.

    Args:
        chat: the question, with all turns before it.
        turns: those and the question, without instructions.
        given: the body, for what the reply repeats.
        store: whether the response is held.
        id: of the response.
    """

    chat: ChatRequest
    turns: Turns
    given: Mapping[str, Any]
    store: bool
    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")

    def __post_init__(self) -> None:
        # Each video gets a handle, by which a later request shows it again.
        videos = tuple(
            part if part.uuid else replace(part, uuid=f"{self.id}/{number}")
            for number, part in enumerate(self.chat.videos)
        )
        object.__setattr__(self, "chat", replace(self.chat, videos=videos))

    def held(self, answer: Answer) -> HeldResponse:
        """The conversation up to the answer."""
        *earlier, (question, _) = self.turns
        return HeldResponse(
            turns=(*earlier, (question, answer.answer)),
            videos=tuple(VideoPart(None, part.uuid) for part in self.chat.videos),
            sampling=self.chat.sampling,
            times=self.chat.times,
            max_tokens=self.chat.max_tokens,
        )


def parse_responses(
    body: bytes,
    defaults: Request,
    most_frames: int,
    find: Callable[[str], HeldResponse | None],
) -> ResponsesRequest:
    """Read a body.

    Args:
        body: JSON.
        defaults: for all that it doesn't say; `model` is the one that is served.
        most_frames: of a video, whatever the body says.
        find: gives an earlier response by its id, or None.

    Raises:
        Refused: it isn't such a body, or asks for what isn't supported.
        UsageError: a value out of range.
    """
    given = RESPONSES.object(parse_json(body), "")
    check_model(given, defaults)
    earlier = _earlier(given, find)
    videos, turns = turns_of(_messages(given.get("input")))
    if earlier is not None:
        videos, turns = (*earlier.videos, *videos), [*earlier.turns, *turns]
    question, history = last_question(_instructed(turns, given))
    sampling, times = frames_of(given, videos, defaults.sampling, most_frames)
    if earlier is not None and earlier.videos and given.get("media_io_kwargs") is None:
        sampling, times = earlier.sampling, earlier.times
    method, against = methods(given)
    if against is not None:
        raise Refused(400, "dycoke.against is for POST /inspect")
    most = max_tokens(given, defaults.max_tokens if earlier is None else earlier.max_tokens)
    check_in_windows(replace(defaults, method=method or defaults.method, max_tokens=most), videos)
    chat = ChatRequest(
        videos=videos,
        question=question,
        history=history,
        sampling=sampling,
        method=method or defaults.method,
        generation=generation(_as_chat(given), defaults.generation, ("max_output_tokens",)),
        stream=flag_of(given, "stream"),
        include_usage=True,
        times=times,
        max_tokens=most,
    )
    options_of(given, RESPONSES_STREAM)
    store = given.get("store") is None or flag_of(given, "store")
    metadata = {} if given.get("metadata") is None else object_of(given["metadata"], "metadata")
    return ResponsesRequest(chat, turns, {**given, "metadata": metadata}, store)


def _earlier(
    given: Mapping[str, Any], find: Callable[[str], HeldResponse | None]
) -> HeldResponse | None:
    """The conversation that a request goes on from; None for a new one."""
    previous = given.get("previous_response_id")
    if previous is None:
        return None
    earlier = find(text_of(previous, "previous_response_id"))
    if earlier is None:
        raise Refused(
            404,
            "the response of previous_response_id isn't held (any more): send the conversation",
            "previous_response_not_found",
            parameter="previous_response_id",
        )
    return earlier


def _instructed(turns: Turns, given: Mapping[str, Any]) -> Turns:
    """The turns with the instructions of this request before the first question."""
    instructions = given.get("instructions")
    if not instructions:
        return turns
    (question, answer), *others = turns
    return [(f"{text_of(instructions, 'instructions')}\n\n{question}", answer), *others]


def _as_chat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the keys of /v1/chat/completions for log-probabilities."""
    include = [] if given.get("include") is None else list_of(given["include"], "include")
    if other := next((one for one in include if one != LOGPROBS), None):
        raise Refused(400, f"include takes {LOGPROBS}, not {other!r:.100}", parameter="include")
    if given.get("top_logprobs") and not include:
        raise Refused(
            400, f'top_logprobs needs "include": ["{LOGPROBS}"]', parameter="top_logprobs"
        )
    return {**given, "logprobs": True} if include else {**given}


def _messages(given: Any) -> list[tuple[str, Parts]]:
    """The role and the parts of each message of `input`, which may be a question alone."""
    if isinstance(given, str):
        return [("user", [text_of(given, "input")])]
    items = list_of(given, "input")
    return [_item(item, f"input[{number}]") for number, item in enumerate(items)]


def _item(given: Any, path: str) -> tuple[str, Parts]:
    kind = object_of(given, path).get("type", "message")
    role = given.get("role")
    if kind != "message" or not isinstance(role, str) or role not in ITEMS:
        raise Refused(
            400,
            f"{path} must be a message of the user, the assistant, system or developer",
            parameter=path,
        )
    content = ITEMS[role].object(given, path).get("content")
    path = f"{path}.content"
    if isinstance(content, str):
        return role, [text_of(content, path)]
    parts = enumerate(list_of(content, path))
    return role, [_part(part, f"{path}[{number}]") for number, part in parts]


def _part(given: Any, path: str) -> VideoPart | str:
    """A part of a message; videos are those of /v1/chat/completions."""
    kind = object_of(given, path).get("type")
    if isinstance(kind, str) and kind in _TEXTS:
        return text_of(_TEXTS[kind].object(given, path).get("text"), f"{path}.text")
    if kind == "input_image":
        url = INPUT_IMAGE.object(given, path).get("image_url")
        return picture(url, f"{path}.image_url")
    if kind in ("video_url", "input_video"):
        return part_of(given, path)
    raise Refused(
        400,
        f"{path} must be input_text, output_text, input_image, input_video or video_url",
        parameter=path,
    )
