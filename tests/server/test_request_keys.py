"""Keys of a request: what each means, what is refused by its name, and the table of the docs."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai.types import chat
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from dycoke_cli.errors import UsageError
from dycoke_cli.server import request_keys
from dycoke_cli.server.chat import ChatRequest
from dycoke_cli.server.exchange import _cautions
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import BODY, RESPONSES, Keys
from tests.server.requests import URL, about, read, read_responses

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
EVS = {"dycoke": {"method": "evs:retain=0.5"}}
SAMPLED = {"temperature": 0.7, "seed": 1}

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
    {"mm_processor_kwargs": {"do_sample_frames": False}, "parallel_tool_calls": True},
]  # fmt: skip

REFUSED: list[tuple[dict[str, Any], str]] = [
    # OpenAI
    ({"n": 2}, "n"), ({"n": True}, "n"), ({"stop": [".", 3]}, "stop[1]"),
    ({"logprobs": True}, "logprobs"), ({"top_logprobs": 5}, "top_logprobs"),
    ({"tools": [{"type": "web_search"}]}, "tools"), ({"tools": "f"}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"), ({"functions": [{}]}, "functions"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"presence_penalty": 0.5}, "presence_penalty"), ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"max_tokens": 1, "max_completion_tokens": 3}, "max_tokens"),
    # vLLM
    ({"best_of": 2}, "best_of"),
    ({"ignore_eos": True}, "ignore_eos"), ({"min_tokens": 50}, "min_tokens"),
    ({"stop_token_ids": [5]}, "stop_token_ids"), ({"bad_words": ["x"]}, "bad_words"),
    ({"guided_choice": "yes"}, "guided_choice"), ({"guided_regex": 7}, "guided_regex"),
    ({"guided_choice": ["yes", 3]}, "guided_choice[1]"),
    ({"structured_outputs": {"regex": 7}}, "structured_outputs.regex"),
    ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
    ({"structured_outputs": {"choice": ["a", "b"]}, "guided_choice": ["b", "a"]}, "guided_choice"),
    ({"chat_template_kwargs": "no"}, "chat_template_kwargs"),
    ({"chat_template": "{{ x }}"}, "chat_template"), ({"echo": True}, "echo"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"mm_processor_kwargs": {"num_frames": 4}, "media_io_kwargs": {"video": {"num_frames": 5}}},
     "media_io_kwargs.video.num_frames"),
    ({"media_io_kwargs": {"image": {"as_frames": 1}}}, "media_io_kwargs.image.as_frames"),
    ({**EVS, "mm_processor_kwargs": {"dycoke": "evs"}}, "mm_processor_kwargs.dycoke"),
    # llama.cpp, DashScope, Ollama
    ({"grammar": 7}, "grammar"), ({"json_schema": {}, "regex": "x"}, "regex"),
    ({"n_predict": 9}, "n_predict"),
    ({"format": "json"}, "format"), ({"options": {"temperature": 1}}, "options"),
]  # fmt: skip

IGNORED: list[tuple[dict[str, Any], str]] = [
    ({"max_token": 5}, "max_token"), ({"Temperature": 1}, "Temperature"),
    ({"prediction": {"type": "content"}}, "prediction"), ({"priority": 1}, "priority"),
    ({"dycoke": {"metod": "evs"}}, "dycoke.metod"), ({"text": {"format": 3}}, "text"),
    ({"response_format": {"type": "text", "x": 1}}, "response_format.x"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options.include_obfuscation"),
    ({"thinking": {"type": "auto"}}, "thinking.type"), ({"thinking": "on"}, "thinking"),
    ({"reasoning_effort": "low"}, "reasoning_effort"), ({"think": "high"}, "think"),
    ({"enable_thinking": "yes"}, "enable_thinking"),
    ({"reasoning": {"effort": "low"}}, "reasoning.effort"), ({"reasoning": 7}, "reasoning"),
    ({"reasoning": {"enabled": 1, "exclude": None}}, "reasoning.enabled"),
    ({"mm_processor_kwargs": {"max_pixels": 9}}, "mm_processor_kwargs.max_pixels"),
    ({"media_io_kwargs": {"frames": 4}}, "media_io_kwargs.frames"),
    ({"media_io_kwargs": {"video": {"max_frames": 4}}}, "media_io_kwargs.video.max_frames"),
    ({"media_io_kwargs": {"image": {"mode": "L"}}}, "media_io_kwargs.image.mode"),
    ({"x\nX-Header: y": 1}, r"x\nX-Header: y"), ({"x" * 300: 1}, "x" * 100),
]  # fmt: skip

TEXT = {"type": "text", "text": "What?"}
VIDEO = {"type": "video_url", "video_url": {"url": URL}}
MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"role": "user", "content": [VIDEO | {"fps": 0.5}, TEXT]}, "messages[].content[].fps"),
    ({"role": "user", "content": [VIDEO | {"video_url": {"url": URL, "fps": 1}}, TEXT]},
     "messages[].content[].video_url.fps"),
    ({"role": "user", "content": [{"type": "input_video", "input_video": {"data": "AA", "x": 1}},
                                  TEXT]}, "messages[].content[].input_video.x"),
    ({"role": "user", "content": [TEXT | {"video_url": URL}]}, "messages[].content[].video_url"),
    ({"role": "user", "content": "What?", "tool_calls": [{"id": "1"}]}, "messages[].tool_calls"),
]  # fmt: skip


def test_what_changes_nothing_is_accepted() -> None:
    for keys in HARMLESS:
        sampled = {key: keys[key] for key in SAMPLED if key in keys}
        assert about(**keys) == about(**sampled), keys


def test_what_would_change_an_answer_is_refused_by_its_name() -> None:
    for keys, name in REFUSED:
        with pytest.raises(Refused) as caught:
            read([{"role": "user", "content": "What?"}], **keys)
        assert caught.value.status == 400, keys
        error = caught.value.document["error"]
        assert name in error["message"], keys
        assert str(error["param"]).endswith(name), keys
    two = {"type": "input_video", "input_video": {"data": "AA", "url": URL}}
    with pytest.raises(Refused, match="input_video has data and a url"):
        read([{"role": "user", "content": [two, TEXT]}])


def test_what_is_unknown_is_ignored_and_named() -> None:
    for keys, name in IGNORED:
        request = about(**keys)
        assert request == about(), keys
        assert request.ignored == (name,)
    for message, name in MESSAGES:
        assert read([message]).ignored == (name,)
        assert read([message]).question == "What?"


def test_both_dialects_refuse_the_same() -> None:
    body: dict[str, Any] = {"frequency_penalty": 1, "min_tokens": 5, "n": 2, "tools": [{}]}
    body["response_format"] = {"type": "text"}
    for key, value in (*body.items(), ("background", True)):
        with pytest.raises(Refused, match=f"^{key} isn't supported; leave it out"):
            read_responses("What?", **{key: value})
    request = read_responses("What?", reasoning={"effort": "low"}, user="a")
    assert request.ignored == ("user", "reasoning.effort")
    assert request == read_responses("What?")
    assert RESPONSES.refused.keys() > BODY.refused.keys()


def test_of_many_ignored_keys_a_warning_names_a_few() -> None:
    request = about(**{f"key{number}": number for number in range(1, 1500)})
    [warning] = _cautions(request)
    assert warning.endswith(", key19, key20 and 1,479 more")
    assert _cautions(replace(request, ignored=("a", "b")))[0].endswith("no effect: a, b")


def test_no_key_of_the_openai_package_is_unread() -> None:
    """Each is read, refused, or ignored and named."""
    strange = {"strange": ["value"]}
    for key in CompletionCreateParamsBase.__annotations__.keys() - {"messages"}:
        if key not in {*BODY.read, *BODY.refused} - {"stream_options", "reasoning_effort"}:
            assert about(**{key: strange}) == about()
            assert about(**{key: strange}).ignored[0].startswith(key)
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
    assert about(**vllm).request.method != about().request.method
    assert about(**EVS, mm_processor_kwargs={"dycoke": None}) == about(**EVS)
    with pytest.raises(UsageError, match="there is no method 'nosuch'"):
        about(mm_processor_kwargs={"dycoke": "nosuch"})


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "history", "question"),
    [
        ([turn("assistant", "Hi!"), turn("user", "a")], (("", "Hi!"),), "a"),
        ([turn("system", "s"), turn("assistant", "x"), turn("user", "a")], (("s", "x"),), "a"),
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
    """The table of docs/serve.md, from the code."""
    values: dict[str, list[str]] = defaultdict(list)
    listed = [
        value if isinstance(value, dict) else {"": value} for value in vars(request_keys).values()
    ]
    every = [one for group in listed for one in group.values() if isinstance(one, Keys)]
    for keys in {keys.name: keys for keys in every}.values():
        of = "" if keys is BODY else f"{keys.name}: "
        for key, neutral in keys.refused.items():
            if keys is RESPONSES and key in BODY.refused:
                continue
            shown = " ".join(f"`{json.dumps(value)}`" for value in neutral)
            values[shown or "`null` only"].append(f"{of}{key}")
    lines = ["| only value | keys that accept only this value, or `null` |", "|---|---|"]
    for value, keys in sorted(values.items()):
        lines.append(f"| {value} | {', '.join(f'`{key}`' for key in sorted(keys))} |")
    return "\n".join(lines)


def test_the_page_has_the_list_of_the_code() -> None:
    [table] = PAGE.split("<!-- keys -->\n\n")[1:]
    assert table.split("\n\n<!-- /keys -->")[0] == tables()
