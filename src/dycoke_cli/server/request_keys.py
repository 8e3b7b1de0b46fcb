"""Keys of a request to /v1/chat/completions or /v1/responses: a closed list for each object.

A key that isn't listed is refused rather than ignored. The names are those of OpenAI's API, of vLLM
(`ChatCompletionRequest`) and of llama.cpp. docs/serve.md has the lists as tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import display_name, is_valid

THINKING = "enable_thinking"
"""Variable of chat templates that decides whether the model thinks before it answers."""
NO_THINKING = ("reasoning_effort", "think")
"""Keys whose only value turns thinking off."""
TEMPLATE = "chat_template_kwargs"
"""Key of the variables of a model's chat template."""
_SHOWN = 100
_IGNORED: ContextVar[list[str]] = ContextVar("ignored")


@contextmanager
def ignoring() -> Iterator[list[str]]:
    """List the keys of a request that are ignored, for the length of a block; without numbers."""
    found: list[str] = []
    token = _IGNORED.set(found)
    try:
        yield found
    finally:
        _IGNORED.reset(token)


def ignore(path: str) -> None:
    """Note that a key has no effect."""
    path, found = re.sub(r"\[\d+\]", "[]", path), _IGNORED.get([])
    if path not in found:
        found.append(path)


@dataclass(frozen=True)
class Keys:
    """Keys of one object of a request."""

    name: str  # of the object in docs/serve.md; empty for the whole body
    read: frozenset[str]  # keys that have an effect
    # keys that are accepted with one of these values, or with null. With them the answer is the one
    # that the request gets without the key, unless the model thinks (`NO_THINKING`).
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    # keys that are accepted with any value, because none changes an answer; they are listed in
    # the warnings of the reply
    unused: frozenset[str] = frozenset()
    listed: bool = True  # whether they are; not where a protocol needs them, or a reply had them
    advice: str = "leave it out"  # what to do about a refused key, `{key}`

    def object(self, given: Any, path: str) -> dict[str, Any]:
        """An object that has no other keys."""
        found = object_of(given, path or "the body")
        for key, value in found.items():
            if key in self.unused:
                if self.listed and value is not None:
                    ignore(f"{path}.{key}" if path else key)
            elif key not in self.read and not _is_neutral(value, self.neutral.get(key)):
                raise self.refused(key, path)
        return found

    def refused(self, key: str, path: str) -> Refused:
        """The refusal of a key."""
        whole = display_name(f"{path}.{key}" if path else key)[:_SHOWN]
        advice = self.advice.replace("{key}", display_name(key)[:_SHOWN])
        return Refused(400, f"{whole} isn't supported; {advice}", parameter=whole)


def _is_neutral(value: Any, neutral: tuple[Any, ...] | None) -> bool:
    if neutral is None:
        return False
    # In Python, True is 1: {"n": true} isn't {"n": 1}.
    return value is None or any(
        isinstance(value, bool) is isinstance(one, bool) and value == one for one in neutral
    )


_OFF, _ON, _ZERO, _ONE, _NONE = (False,), (True,), (0,), (1,), ()
_EMPTY: tuple[Any, ...] = ([],)

BODY = Keys(
    "",
    read=frozenset(
        (
            "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
            "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop", "n",
            "logprobs", "top_logprobs", "media_io_kwargs", "mm_processor_kwargs", "dycoke",
            "structured_outputs", "guided_choice", "response_format", "tools", "tool_choice",
            "parallel_tool_calls", TEMPLATE,
        )
    ),
    neutral={
        # OpenAI
        "presence_penalty": _ZERO, "frequency_penalty": _ZERO, "logit_bias": ({},),
        "functions": _EMPTY, "function_call": ("none",), "audio": _NONE,
        "modalities": (["text"],), "prediction": _NONE, "reasoning_effort": ("none",),
        "web_search_options": _NONE, "moderation": _NONE,
        "service_tier": ("auto", "default"), "extra_body": ({},),
        # vLLM: sampling
        "best_of": _ONE, "use_beam_search": _OFF, "length_penalty": _ONE, "stop_token_ids": _EMPTY,
        "include_stop_str_in_output": _OFF, "ignore_eos": _OFF, "min_tokens": _ZERO,
        "skip_special_tokens": _ON, "spaces_between_special_tokens": _ON, "watermarking": _OFF,
        "truncate_prompt_tokens": _NONE, "truncation_side": _NONE, "prompt_logprobs": _NONE,
        "logprob_token_ids": _NONE, "allowed_token_ids": _NONE, "bad_words": _EMPTY,
        "repetition_detection": _NONE, "thinking_token_budget": _NONE, "include_reasoning": _ON,
        # vLLM: the prompt
        "echo": _OFF, "add_generation_prompt": _ON, "continue_final_message": _OFF,
        "add_special_tokens": _OFF, "documents": _EMPTY, "chat_template": _NONE,
        # vLLM: the form of the answer
        "guided_json": _NONE, "guided_regex": _NONE, "guided_grammar": _NONE,
        "guided_decoding_backend": _NONE, "guided_whitespace_pattern": _NONE,
        # vLLM: the rest
        "priority": _ZERO, "request_id": _NONE, "return_tokens_as_token_ids": _OFF,
        "return_token_ids": _OFF, "return_prompt_text": _OFF, "return_token_offsets": _OFF,
        "return_mm_kwargs": _ON, "routed_experts_prompt_start": _ZERO, "cache_salt": _NONE,
        "kv_transfer_params": _NONE, "ec_transfer_params": _NONE, "vllm_xargs": ({},),
        "stream_interval": _ONE,
        # llama.cpp
        "grammar": ("",), "json_schema": _NONE, "repeat_penalty": _ONE, "typical_p": _ONE,
        "mirostat": _ZERO, "dry_multiplier": _ZERO, "xtc_probability": _ZERO,
        # Ollama
        "think": _OFF,
    },
    unused=frozenset(
        (
            "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention", "session_id", "cache_prompt", "store", "verbosity",
            "keep_alive",
        )
    ),
)  # fmt: skip
"""The whole body."""

STREAM_OPTIONS = Keys(
    "stream_options",
    frozenset(("include_usage",)),
    {"include_obfuscation": _OFF, "continuous_usage_stats": _OFF},
)
DYCOKE = Keys(
    "dycoke",
    frozenset(("method", "against", "calibrate", "max_tokens", "number")),
    advice="dycoke takes method, max_tokens, calibrate and number, not {key} "
    "(structured_outputs.choice has the options of an answer)",
)
STRUCTURED = Keys(
    "structured_outputs",
    frozenset(("choice", "json", "json_object", "regex", "grammar")),
    {"structural_tag": _NONE},
    advice="structured_outputs takes choice, json, json_object, regex or grammar",
)
RESPONSE_FORMAT = Keys("response_format", frozenset(("type", "json_schema")))
JSON_SCHEMA = Keys(
    "response_format.json_schema",
    frozenset(("schema",)),
    # Every answer is held to the schema, so that strict changes nothing.
    unused=frozenset(("name", "description", "strict")),
    listed=False,
)
MM_PROCESSOR = Keys(
    "mm_processor_kwargs",
    frozenset(("dycoke", "num_frames", "fps", "use_audio_in_video")),
    {"do_sample_frames": _OFF},
    advice="media_io_kwargs.video has num_frames and fps",
)
MEDIA_IO = Keys("media_io_kwargs", frozenset(("video", "image")), {"audio": ({},)})
IMAGE_IO = Keys("media_io_kwargs.image", frozenset(("as_frames",)))
VIDEO_IO = Keys(
    "media_io_kwargs.video",
    frozenset(("num_frames", "fps", "frames_indices", "total_num_frames", "duration")),
    {"do_sample_frames": _OFF},
)

_MESSAGE = frozenset(("role", "content"))
_NAME = frozenset(("name",))
_QUESTION = Keys("message (user, system, developer)", _MESSAGE, unused=_NAME)
_ANSWER = Keys(
    "message (assistant)",
    _MESSAGE | {"tool_calls"},
    {
        "refusal": _NONE, "annotations": _EMPTY, "audio": _NONE, "function_call": _NONE,
        "reasoning": ("",), "reasoning_content": ("",),
    },
    _NAME,
)  # fmt: skip
_RESULT = Keys("message (tool)", _MESSAGE | {"tool_call_id"}, unused=_NAME)
MESSAGES = {
    "user": _QUESTION,
    "system": _QUESTION,
    "developer": _QUESTION,
    "assistant": _ANSWER,
    "tool": _RESULT,
}
"""Keys of a message, by its role."""
TOOL = Keys("tools", frozenset(("type", "function")))
FUNCTION = Keys("tools.function", frozenset(("name", "description", "parameters", "strict")))
TOOL_CHOICE = Keys("tool_choice", frozenset(("type", "function")))
TOOL_CHOICE_FUNCTION = Keys("tool_choice.function", frozenset(("name",)))
CALL = Keys(
    "tool_calls",
    frozenset(("function", "id")),
    {"type": ("function",)},
    frozenset(("index",)),
    listed=False,
)
CALLED = Keys("tool_calls.function", frozenset(("name", "arguments")))

_ADVICE = "media_io_kwargs.video chooses the frames"
_HINTS = frozenset(("cache_control", "prompt_cache_breakpoint"))
PARTS = {
    "text": Keys("part text", frozenset(("type", "text")), unused=_HINTS),
    "video_url": Keys(
        "part video_url", frozenset(("type", "video_url", "uuid")), unused=_HINTS, advice=_ADVICE
    ),
    "input_video": Keys(
        "part input_video",
        frozenset(("type", "input_video", "uuid")),
        unused=_HINTS,
        advice=_ADVICE,
    ),
    "image_url": Keys("part image_url", frozenset(("type", "image_url")), unused=_HINTS),
}
"""Keys of a part of a message, by its type."""
IMAGE_URL = Keys("image_url", frozenset(("url",)), unused=frozenset(("detail",)))
VIDEO_URL = Keys("video_url", frozenset(("url",)), advice=_ADVICE)
INPUT_VIDEO = Keys("input_video", frozenset(("data", "url")), advice=_ADVICE)

RESPONSES = Keys(
    "",
    read=frozenset(
        (
            "model", "input", "instructions", "previous_response_id", "store", "metadata", "stream",
            "stream_options", "max_output_tokens", "temperature", "top_p", "top_k", "min_p",
            "repetition_penalty", "seed", "stop", "include", "top_logprobs", "media_io_kwargs",
            "mm_processor_kwargs", "dycoke", "structured_outputs", "text", "tools", "tool_choice",
            "parallel_tool_calls",
        )
    ),
    neutral={
        "background": _OFF, "conversation": _NONE, "context_management": _NONE,
        "max_tool_calls": _NONE, "moderation": _NONE,
        "prompt": _NONE, "reasoning": ({}, {"effort": "none"}), "service_tier": ("auto", "default"),
        "truncation": ("disabled",),
    },
    unused=frozenset(
        (
            "user", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention",
        )
    ),
)  # fmt: skip
"""The whole body of a request to /v1/responses."""
TEXT = Keys("text", frozenset(("format",)), unused=frozenset(("verbosity",)))
TEXT_FORMAT = Keys(
    "text.format",
    frozenset(("type", "schema")),
    unused=frozenset(("name", "description", "strict")),
    listed=False,
)
RESPONSES_STREAM = Keys("stream_options", frozenset(), {"include_obfuscation": _OFF})
_ITEM = frozenset(("type", "role", "content"))
_ASKED = Keys("input (user, system, developer)", _ITEM, {"status": ("completed",), "id": _NONE})
_SAID = Keys("input (assistant)", _ITEM, unused=frozenset(("id", "status", "phase")), listed=False)
_CALLED = Keys(
    "input function_call",
    frozenset(("type", "call_id", "name", "arguments")),
    unused=frozenset(("id", "status")),
    listed=False,
)
_RETURNED = Keys(
    "input function_call_output",
    frozenset(("type", "call_id", "output")),
    unused=frozenset(("id", "status")),
    listed=False,
)
CALL_ITEMS = {"function_call": _CALLED, "function_call_output": _RETURNED}
"""Keys of an item of `input` that isn't a message, by its type."""
RESPONSES_TOOL = Keys(
    "tools of /v1/responses",
    frozenset(("type", "name", "description", "parameters", "strict")),
)
RESPONSES_TOOL_CHOICE = Keys("tool_choice of /v1/responses", frozenset(("type", "name")))
ITEMS = {"user": _ASKED, "system": _ASKED, "developer": _ASKED, "assistant": _SAID}
"""Keys of a message of `input`, by its role."""
INPUT_TEXT = Keys("part input_text", frozenset(("type", "text")), unused=_HINTS)
OUTPUT_TEXT = Keys(
    "part output_text",
    frozenset(("type", "text")),
    unused=frozenset(("annotations", "logprobs", "parsed")),
    listed=False,
)
INPUT_IMAGE = Keys(
    "part input_image",
    frozenset(("type", "image_url")),
    {"file_id": _NONE},
    _HINTS | {"detail"},
)

ALL_OF_RESPONSES = (
    RESPONSES, RESPONSES_STREAM, RESPONSES_TOOL, RESPONSES_TOOL_CHOICE, TEXT, TEXT_FORMAT, _ASKED,
    _SAID, _CALLED, _RETURNED, INPUT_TEXT, INPUT_IMAGE, OUTPUT_TEXT,
)  # fmt: skip
"""The keys of the objects that only requests to /v1/responses have."""
ALL = (
    BODY, STREAM_OPTIONS, DYCOKE, STRUCTURED, RESPONSE_FORMAT, JSON_SCHEMA, MM_PROCESSOR, MEDIA_IO,
    VIDEO_IO, IMAGE_IO,
    TOOL, FUNCTION, TOOL_CHOICE, TOOL_CHOICE_FUNCTION, _QUESTION, _ANSWER, CALL, CALLED, _RESULT,
    *PARTS.values(), VIDEO_URL, INPUT_VIDEO, IMAGE_URL,
)  # fmt: skip
"""The keys of all objects of a request."""


def text_of(given: Any, path: str) -> str:
    """A text."""
    if not isinstance(given, str) or not is_valid(given):
        raise Refused(400, f"{path} must be a text", parameter=path)
    return given


def json_of(given: Any, path: str) -> Any:
    """Any value."""
    if not is_valid(json.dumps(given, ensure_ascii=False)):
        raise Refused(400, f"{path} has a text that isn't Unicode", parameter=path)
    return given


def list_of(given: Any, path: str) -> list[Any]:
    """A list."""
    if not isinstance(given, list):
        raise Refused(400, f"{path} must be a list", parameter=path)
    return given


def object_of(given: Any, path: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(given, dict):
        raise Refused(400, f"{path} must be an object", parameter=path)
    return given


def options_of(given: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """An object of the body with options; empty where it isn't there."""
    found = given.get(keys.name)
    return {} if found is None else keys.object(found, keys.name)


def flag_of(given: Mapping[str, Any], key: str, path: str | None = None) -> bool:
    """A flag of an object; null is false."""
    value, path = given.get(key), path or key
    if value is not None and not isinstance(value, bool):
        raise Refused(400, f"{path} must be true or false", parameter=path)
    return bool(value)
