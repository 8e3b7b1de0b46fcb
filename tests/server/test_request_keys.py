"""Keys of a request: what each means, what is refused by its name, and the table of the docs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from openai.types import chat
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from dycoke_cli.errors import UsageError
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    ALL,
    ALL_OF_RESPONSES,
    BODY,
    RESPONSES,
    RESPONSES_STREAM,
)
from tests.server.test_chat_request import URL, about, read

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
EVS = {"dycoke": {"method": "evs:retain=0.5"}}
SAMPLED = {"temperature": 0.7, "seed": 1}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

HARMLESS: list[dict[str, Any]] = [
    # What LangChain, Instructor and Open WebUI send by themselves.
    dict.fromkeys(
        (
            "stop", "n", "logprobs", "top_logprobs", "top_p", "presence_penalty", "tools",
            "frequency_penalty", "tool_choice", "response_format", "stream_options", "max_tokens",
            "temperature", "seed", "user", "metadata", "store", "logit_bias", "service_tier",
            "parallel_tool_calls", "reasoning_effort", "verbosity", "modalities", "audio",
            "prediction", "web_search_options", "functions", "function_call", "media_io_kwargs",
            "mm_processor_kwargs", "dycoke", "max_completion_tokens", "stream", "model",
        )
    ),
    {"n": 1, "stop": [], "top_p": 1, "presence_penalty": 0.0, "frequency_penalty": 0},
    {"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "tools": [], "tool_choice": "none"},
    {"response_format": {"type": "text"}, "modalities": ["text"], "service_tier": "auto"},
    {"user": "x", "metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "k"},
    {"top_p": 0.9}, {"top_p": 0, "temperature": 0}, {"top_k": 5, "min_p": 0.1},
    {"top_k": -1, "min_p": 0.0, "ignore_eos": False, "min_tokens": 0},
    {"stop_token_ids": [], "skip_special_tokens": True, "add_generation_prompt": True},
    {"guided_choice": None, "structured_outputs": {"json": None, "json_object": False}},
    {"structured_outputs": None, "chat_template_kwargs": {}, "echo": False},
    {"stream_options": {"include_usage": False, "include_obfuscation": False}},
    {"media_io_kwargs": {"video": {"do_sample_frames": False}, "image": {}}},
    {"mm_processor_kwargs": {"do_sample_frames": False}},
]  # fmt: skip

REFUSED: list[tuple[dict[str, Any], str]] = [
    # OpenAI
    ({"n": 2}, "n"), ({"n": True}, "n"), ({"stop": [".", 3]}, "stop[1]"),
    ({"logprobs": 2}, "logprobs"), ({"top_logprobs": 5}, "top_logprobs"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"), ({"tools": "f"}, "tools"),
    ({"tools": [{"type": "function", "function": TOOL}]}, "tools[0].function.type"),
    ({"tool_choice": "required"}, "tool_choice"), ({"functions": [{}]}, "functions"),
    ({"response_format": {"type": "json_object", "x": 1}}, "response_format.x"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"modalities": ["text", "audio"]}, "modalities"), ({"audio": {"voice": "x"}}, "audio"),
    ({"reasoning_effort": "low"}, "reasoning_effort"), ({"think": True}, "think"),
    ({"presence_penalty": 0.5}, "presence_penalty"), ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"prediction": {"type": "content"}}, "prediction"),
    ({"max_tokens": 1, "max_completion_tokens": 3}, "max_tokens"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    # vLLM
    ({"best_of": 2}, "best_of"),
    ({"ignore_eos": True}, "ignore_eos"), ({"min_tokens": 50}, "min_tokens"),
    ({"stop_token_ids": [5]}, "stop_token_ids"), ({"bad_words": ["x"]}, "bad_words"),
    ({"guided_choice": "yes"}, "guided_choice"), ({"guided_json": {}}, "guided_json"),
    ({"guided_choice": ["yes", 3]}, "guided_choice[1]"),
    ({"structured_outputs": {"regex": 7}}, "structured_outputs.regex"),
    ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
    ({"structured_outputs": {"choice": ["a", "b"]}, "guided_choice": ["b", "a"]}, "guided_choice"),
    ({"dycoke": {"calibrate": True}}, "dycoke.calibrate"),
    ({"chat_template_kwargs": "no"}, "chat_template_kwargs"),
    ({"chat_template": "{{ x }}"}, "chat_template"), ({"echo": True}, "echo"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"prompt_logprobs": 1}, "prompt_logprobs"), ({"cache_salt": "x"}, "cache_salt"),
    ({"vllm_xargs": {"a": 1}}, "vllm_xargs"), ({"priority": 1}, "priority"),
    ({"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"mm_processor_kwargs": {"num_frames": 4}, "media_io_kwargs": {"video": {"num_frames": 5}}},
     "media_io_kwargs.video.num_frames"),
    ({"mm_processor_kwargs": {"use_audio_in_video": "no"}},
     "mm_processor_kwargs.use_audio_in_video"),
    ({"mm_processor_kwargs": {"max_pixels": 9}}, "mm_processor_kwargs.max_pixels"),
    ({"mm_processor_kwargs": {"do_sample_frames": True}}, "mm_processor_kwargs.do_sample_frames"),
    ({"media_io_kwargs": {"video": {"max_frames": 4}}}, "media_io_kwargs.video.max_frames"),
    ({"media_io_kwargs": {"image": {"mode": "L"}}}, "media_io_kwargs.image.mode"),
    ({"media_io_kwargs": {"image": {"as_frames": 1}}}, "media_io_kwargs.image.as_frames"),
    ({"media_io_kwargs": {"frames": 4}}, "media_io_kwargs.frames"),
    # llama.cpp, DashScope, a slip of the pen
    ({"grammar": "root ::= x"}, "grammar"), ({"json_schema": {}}, "json_schema"),
    ({"enable_thinking": True}, "enable_thinking"), ({"max_token": 5}, "max_token"),
    ({"max_token": None}, "max_token"), ({"Temperature": 1}, "Temperature"),
    ({"dycoke": {"metod": "evs"}}, "dycoke.metod"),
    ({**EVS, "mm_processor_kwargs": {"dycoke": "evs"}}, "mm_processor_kwargs.dycoke"),
    ({"x\nX-Header: y": 1}, r"x\nX-Header: y"),
]  # fmt: skip

TEXT = {"type": "text", "text": "What?"}
VIDEO = {"type": "video_url", "video_url": {"url": URL}}
MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"role": "user", "content": [VIDEO | {"fps": 0.5}, TEXT]}, "messages[0].content[0].fps"),
    ({"role": "user", "content": [VIDEO | {"max_pixels": 9}, TEXT]}, "content[0].max_pixels"),
    ({"role": "user", "content": [{"type": "video_url", "video_url": {"url": URL, "fps": 1}}]},
     "messages[0].content[0].video_url.fps"),
    ({"role": "user", "content": [{"type": "input_video", "input_video": {"data": "AA", "x": 1}}]},
     "messages[0].content[0].input_video.x"),
    ({"role": "user", "content": [{"type": "input_video",
                                   "input_video": {"data": "AA", "url": URL}}]}, "input_video"),
    ({"role": "user", "content": [TEXT | {"video_url": URL}]}, "messages[0].content[0].video_url"),
    ({"role": "user", "content": "What?", "tool_calls": []}, "messages[0].tool_calls"),
]  # fmt: skip


def test_what_changes_nothing_is_accepted() -> None:
    for keys in HARMLESS:
        sampled = {key: keys[key] for key in SAMPLED if key in keys}
        assert about(**keys) == about(**sampled), keys


def test_all_else_is_refused_by_its_name() -> None:
    cases = [([{"role": "user", "content": "What?"}], keys, name) for keys, name in REFUSED]
    cases += [([message], {}, name) for message, name in MESSAGES]
    for messages, keys, name in cases:
        with pytest.raises(Refused) as caught:
            read(messages, **keys)
        assert caught.value.status == 400, keys
        error = caught.value.document["error"]
        assert name in error["message"], keys
        assert str(error["param"]).endswith(name), keys


def test_no_key_of_the_openai_package_is_unread() -> None:
    """Each is read, accepted because it changes no answer, or refused."""
    strange = {"strange": ["value"]}
    for key in CompletionCreateParamsBase.__annotations__.keys() - {"messages"}:
        if key in BODY.unused:
            assert about(**{key: strange}) == about()
            continue
        with pytest.raises((Refused, UsageError), match=key if key != "model" else "mini alone"):
            about(**{key: strange})


def test_an_answer_goes_back_as_it_came() -> None:
    """Clients send the message of an earlier reply, with all of its keys."""
    message = chat.ChatCompletionMessage(role="assistant", content="A star.").model_dump()
    assert message.keys() > {"refusal", "audio", "tool_calls"}
    question = {"role": "user", "content": "What?"}
    request = read([question, message | {"tool_calls": []}, {"role": "user", "content": "Why?"}])
    assert request.history == (("What?", "A star."),)


def test_both_spellings_of_the_method_mean_the_same() -> None:
    vllm = {"mm_processor_kwargs": {"dycoke": "evs:retain=0.5"}}
    assert about(**vllm) == about(**EVS) == about(**vllm, **EVS)
    assert about(**vllm).method != about().method
    assert about(**EVS, mm_processor_kwargs={"dycoke": None}) == about(**EVS)
    with pytest.raises(UsageError, match="there is no method 'nosuch'"):
        about(mm_processor_kwargs={"dycoke": "nosuch"})


def test_a_key_that_comes_twice() -> None:
    from dycoke_cli.server.chat_request import parse
    from tests.server.test_chat_request import DEFAULTS, MOST

    body = b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    with pytest.raises(Refused, match="the key content twice"):
        parse(body, DEFAULTS, MOST)


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "history", "question"),
    [
        ([turn("user", "What?"), turn("system", "Be brief.")], (), "What?\n\nBe brief."),
        ([turn("user", "a"), turn("system", "s"), turn("user", "b")], (), "a\n\ns\n\nb"),
        ([turn("system", "s"), turn("user", "a"), turn("developer", "d")], (), "s\n\na\n\nd"),
        (
            [turn("user", "a"), turn("assistant", "x"), turn("system", "s"), turn("user", "b")],
            (("a", "x"),),
            "s\n\nb",
        ),
        (
            [turn("user", "a"), turn("system", "s"), turn("assistant", "x"), turn("user", "b")],
            (("a\n\ns", "x"),),
            "b",
        ),
    ],
    ids=str,
)
def test_a_system_message_is_read_wherever_it_stands(
    messages: list[Any], history: Any, question: str
) -> None:
    request: ChatRequest = read(messages)
    assert (request.history, request.question) == (history, question)


def test_a_system_message_behind_the_last_answer() -> None:
    with pytest.raises(Refused, match="the last message must be of the user"):
        read([turn("user", "a"), turn("assistant", "x"), turn("system", "Now answer.")])


def tables() -> str:
    """The tables of docs/serve.md, from the code."""
    lines = ["| object | supported keys |", "|---|---|"]
    values: dict[str, list[str]] = defaultdict(list)
    harmless: list[str] = []
    for keys in (*ALL, *ALL_OF_RESPONSES):
        name = _OBJECTS.get(id(keys), keys.name)
        if keys.read:
            lines.append(f"| {name or 'the body'} | {_listed(keys.read)} |")
        for key, neutral in keys.neutral.items():
            shown = " ".join(f"`{json.dumps(value)}`" for value in neutral)
            values[shown or "`null` only"].append(_named(name, key))
        harmless += [_named(name, key) for key in keys.unused]
    lines += ["", "| ignored, with any value |", "|---|", f"| {_listed(harmless)} |"]
    lines += ["", "| only value | keys that accept only this value, or `null` |", "|---|---|"]
    lines += [f"| {value} | {_listed(keys)} |" for value, keys in sorted(values.items())]
    return "\n".join(lines)


_OBJECTS = {
    id(RESPONSES): "the body of /v1/responses",
    id(RESPONSES_STREAM): "stream_options of /v1/responses",
}


def _named(name: str, key: str) -> str:
    return f"{name}: {key}" if " " in name else f"{name}.{key}" if name else key


def _listed(keys: Any) -> str:
    return ", ".join(f"`{key}`" for key in sorted(keys))


def test_the_page_has_the_lists_of_the_code() -> None:
    [table] = PAGE.split("<!-- keys -->\n\n")[1:]
    assert table.split("\n\n<!-- /keys -->")[0] == tables()
