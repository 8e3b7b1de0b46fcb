"""Bodies that Open WebUI and lmms-eval send: accepted as they mean it, or refused by a key's name.

Their shapes are from the public sources of 2026: Open WebUI's `routers/openai.py` (both protocols)
and `utils/payload.py`; lmms-eval's `models/chat/openai.py`, `models/chat/async_openai.py`,
`models/simple/openai.py` and `protocol.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from dycoke_cli.models.prompts.tool_calls import ToolTurn
from dycoke_cli.server.refused import Refused
from tests.server.responses.test_responses import read as read_responses
from tests.server.test_chat_request import read

PICTURE = "data:image/png;base64,AAAA"
FUNCTION = {
    "name": "get_time",
    "description": "The time.",
    "parameters": {"type": "object", "properties": {}, "required": []},
}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    ],
}


def text(content: str) -> dict[str, str]:
    return {"type": "text", "text": content}


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": PICTURE}}


def webui(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A turn of Open WebUI's chat."""
    return {
        "stream": True,
        "model": "mini",
        "messages": [*messages],
        "stream_options": {"include_usage": True},
        **more,
    }


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts]}


def test_a_chat_of_open_webui() -> None:
    """A system prompt, pictures in an earlier turn, and the parameters that its page has."""
    body = webui(
        {"role": "system", "content": "Be brief."},
        user(text("What is it?"), picture(), picture()),
        {"role": "assistant", "content": "A star."},
        {"role": "user", "content": "What colour?"},
        temperature=0.7, top_p=0.9, max_tokens=64, seed=3, stop=["\n\n"], top_k=40, min_p=0.1,
        repetition_penalty=1.1, frequency_penalty=0.0, presence_penalty=0.0,
    )  # fmt: skip
    request = read(**body)
    assert request.history == (("Be brief.\n\nWhat is it?", "A star."),)
    assert request.question == "What colour?"
    [video] = request.videos
    assert video.pictures == (PICTURE, PICTURE)
    assert (request.stream, request.include_usage) == (True, True)
    options = request.generation
    assert (options.max_new_tokens, options.temperature, options.seed) == (64, 0.7, 3)
    assert options.tokens is not None
    assert options.tokens.stop == ("\n\n",)


def test_a_title_for_a_chat_of_open_webui() -> None:
    """It asks for one behind the first answer, without a stream; and sends no `stream_options`."""
    task = webui({"role": "user", "content": "Title?"}, stream=False, max_completion_tokens=1000)
    del task["stream_options"]
    request = read(**task)
    assert (request.question, request.stream) == ("Title?", False)
    assert request.generation.max_new_tokens == 1000


def test_a_tool_of_open_webui() -> None:
    """Its results are texts; a call has no text beside it, but an empty one."""
    result = {"role": "tool", "tool_call_id": "c", "content": "Noon."}
    tools = [{"type": "function", "function": FUNCTION}]
    request = read(**webui(user(text("When?")), CALLED, result, tools=tools))
    assert request.question == "Noon."
    [(_, answer)] = request.history
    assert isinstance(answer, ToolTurn)
    assert [tool["function"]["name"] for tool in request.tools] == ["get_time"]


def test_responses_of_open_webui() -> None:
    """With the kind of connection that its settings call `responses`."""
    items = [
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "When?"}, {"type": "input_image", "image_url": PICTURE},
        ]},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "I look."},
        ]},
        {"type": "function_call", "call_id": "c", "name": "get_time", "arguments": "{}", "id": "f"},
        {"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_text", "text": "Noon."},
        ]},
    ]  # fmt: skip
    more = {"stream": True, "model": "mini", "temperature": 0.7, "max_output_tokens": 64}
    tools = [{"type": "function", **FUNCTION}]
    request = read_responses(items, instructions="Be brief.", tools=tools, **more)
    [(question, answer)] = request.chat.history
    assert question == "Be brief.\n\nWhen?"
    assert isinstance(answer, ToolTurn)
    assert answer.messages[0]["content"] == [text("I look.")]
    assert request.chat.question == "Noon."
    assert len(request.chat.videos) == 1
    assert request.chat.generation.max_new_tokens == 64


def lmms_eval(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "messages": [user(*parts)],
        "model": "mini",
        "max_tokens": 1024,
        "temperature": 0,
    } | more


@pytest.mark.parametrize(
    "parts",
    [[picture(), picture(), picture(), text("Which?")], [text("Which?"), *[picture()] * 3]],
    ids=["chat", "simple"],
)
def test_the_frames_of_lmms_eval_are_one_video(parts: list[dict[str, Any]]) -> None:
    request = read(**lmms_eval(*parts))
    [video] = request.videos
    assert len(video.pictures) == 3
    assert request.question == "Which?"
    assert (request.generation.max_new_tokens, request.generation.temperature) == (1024, 0)


def test_frames_with_their_times_are_one_video_each() -> None:
    """What its client for Qwen3-VL sends: a text with the time before each frame."""
    parts = [part for second in "123" for part in (text(f"<{second}.0 seconds>"), picture())]
    request = read(**lmms_eval(*parts, text("Which?")))
    assert [len(video.pictures) for video in request.videos] == [1, 1, 1]
    assert request.question.endswith("<3.0 seconds>\nWhich?")


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        # What changes the meaning of an answer, and nothing here does.
        (webui(user(text("?")), frequency_penalty=0.5), "frequency_penalty"),
        (webui(user(text("?")), presence_penalty=0.5), "presence_penalty"),
        (webui(user(text("?")), logit_bias={"5": 100}), "logit_bias"),
        (webui(user(text("?")), reasoning_effort="medium"), "reasoning_effort"),
        (webui(user(text("?")), repeat_penalty=1.1), "repeat_penalty"),
        (webui(user(text("?")), num_ctx=4096), "num_ctx"),
        (webui(user(text("?")), extra_body={"reference": True}), "extra_body"),
        (
            lmms_eval(text("?"), {"type": "audio_url", "audio_url": {"url": "a.wav"}}),
            "messages[0].content[1]",
        ),
        (
            lmms_eval(text("?"), {"type": "input_audio", "input_audio": {"data": "AAAA"}}),
            "messages[0].content[1]",
        ),
        # Its client with tools names the function in place of the call.
        (
            {
                "messages": [
                    user(text("?")),
                    CALLED,
                    {"role": "tool", "name": "get_time", "content": [text("Noon.")]},
                ]
            },
            "messages[2].name",
        ),
    ],
    ids=str,
)
def test_what_changes_the_meaning_is_refused_by_its_name(
    body: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(Refused) as caught:
        read(**body)
    assert (caught.value.status, caught.value.parameter) == (400, parameter)
