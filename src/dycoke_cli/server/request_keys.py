"""Keys of a request: those that are read, per object.

Any other key is ignored, and named in the warnings of the reply; but a key that would change the
answer is refused. docs/serve.md has the lists as tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import display_name, is_valid

THINKING = "enable_thinking"
"""Variable of chat templates that decides whether the model thinks before it answers."""
_THINKS: Mapping[str, Mapping[Any, bool]] = {
    "reasoning_effort": {"none": False}, "think": {False: False, True: True},
    "enable_thinking": {False: False, True: True},  # DashScope
    "thinking.type": {"disabled": False, "enabled": True},  # GLM, Doubao, DeepSeek
    "reasoning.effort": {"none": False}, "reasoning.enabled": {False: False, True: True},
}  # fmt: skip
"""Whether a model thinks, as other servers say it: by key, what its values mean. Other values, such
as how much it thinks, are ignored."""
TEMPLATE = "chat_template_kwargs"
"""Key of the variables of a model's chat template."""
_SHOWN = 100
_IGNORED: ContextVar[dict[str, None]] = ContextVar("ignored")


@contextmanager
def ignoring() -> Iterator[dict[str, None]]:
    """List the keys of a request that are ignored, for the length of a block; without numbers."""
    found: dict[str, None] = {}
    token = _IGNORED.set(found)
    try:
        yield found
    finally:
        _IGNORED.reset(token)


def ignore(path: str) -> None:
    """Note that a key has no effect."""
    _IGNORED.get({})[re.sub(r"\[\d+\]", "[]", path)] = None


@dataclass(frozen=True)
class Keys:
    """Keys of one object of a request."""

    name: str  # of the object in docs/serve.md
    # keys that have an effect, or that the protocol has in every request or reply
    read: Set[str]
    # keys that would change the answer: they are accepted with one of these values, which don't,
    # or with null
    refused: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def object(self, given: Any, path: str) -> dict[str, Any]:
        """An object without its ignored keys."""
        found = {}
        for key, value in object_of(given, path or "the body").items():
            whole = display_name(f"{path}.{key}" if path else key)[:_SHOWN]
            if key in self.read:
                found[key] = value
            elif key not in self.refused:
                if value not in _EMPTY:
                    ignore(whole)
            elif value is None or any(_is_same(value, one) for one in self.refused[key]):
                found[key] = value
            else:
                raise Refused(f"{whole} isn't supported; leave it out", whole)
        return found


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _is_same(value: Any, other: Any) -> bool:
    # In Python, True is 1: {"n": true} isn't {"n": 1}.
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


_OFF, _ON, _ZERO, _ONE, _NONE = (False,), (True,), (0,), (1,), ()
_NO_LIST: tuple[Any, ...] = ([],)

FORMS = {
    "guided_choice": "choice", "guided_json": "json", "guided_regex": "regex",
    "guided_grammar": "grammar",
    "json_schema": "json", "grammar": "grammar", "regex": "regex", "ebnf": "grammar",
}  # fmt: skip
"""Keys of the body that say what `structured_outputs` does in its keys: vLLM's older ones,
llama.cpp's and SGLang's."""
_BOTH = (
    "model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "seed", "stop", "media_io_kwargs", "mm_processor_kwargs",
    "dycoke", "structured_outputs", *FORMS,
    "reasoning_effort", "think", "enable_thinking", "thinking", "reasoning",
)  # fmt: skip
_REFUSED: dict[str, tuple[Any, ...]] = {
    # several answers, of which the best is sent
    "n": _ONE, "best_of": _ONE, "use_beam_search": _OFF,
    # which tokens
    "presence_penalty": _ZERO, "frequency_penalty": _ZERO, "repeat_penalty": _ONE,
    "logit_bias": ({},), "allowed_token_ids": _NONE, "bad_words": _NO_LIST,
    # where the answer ends
    "min_tokens": _ZERO, "n_predict": (-1,), "ignore_eos": _OFF, "stop_token_ids": _NO_LIST,
    # its form
    "format": ("",), "modalities": (["text"],), "functions": _NO_LIST,
    "tools": _NO_LIST, "tool_choice": ("auto", "none"),
    # what is reported
    "logprobs": _OFF, "top_logprobs": _ZERO,
    # the prompt
    "echo": _OFF, "add_generation_prompt": _ON, "continue_final_message": _OFF,
    "chat_template": _NONE,
    "options": ({},),  # of Ollama: all that is sampled
}  # fmt: skip
"""Keys of OpenAI's API, vLLM, llama.cpp and Ollama that would change the answer."""

BODY = Keys(
    "the body",
    {
        *_BOTH, "messages", "max_tokens", "max_completion_tokens",
        "response_format", TEMPLATE,
    },
    _REFUSED,
)  # fmt: skip
"""The whole body."""

STREAM_OPTIONS = Keys("stream_options", {"include_usage"})
DYCOKE = Keys("dycoke", {"method", "video_tokens", "subtitles"})
THINKING_BY = Keys("thinking", {"type"})
REASONING = Keys("reasoning", {"effort", "enabled"})
STRUCTURED = Keys(
    "structured_outputs",
    {"choice", "json", "json_object", "regex", "grammar"},
    {"structural_tag": _NONE},
)
RESPONSE_FORMAT = Keys("response_format", {"type", "json_schema", "schema"})
# Every answer is held to its schema, so that `strict` changes nothing.
_SCHEMA = {"schema", "name", "description", "strict"}
JSON_SCHEMA = Keys("response_format.json_schema", _SCHEMA)
MM_PROCESSOR = Keys("mm_processor_kwargs", {"dycoke", "num_frames", "fps"})
MEDIA_IO = Keys("media_io_kwargs", {"video", "image"})
IMAGE_IO = Keys("media_io_kwargs.image", {"as_frames"})
VIDEO_IO = Keys(
    "media_io_kwargs.video",
    # `do_sample_frames` has no effect, and is sent by our own client: frames are as they come.
    {"num_frames", "fps", "frames_indices", "total_num_frames", "duration", "do_sample_frames"},
)

# `type`, `id`, `status` and `phase` are of /v1/responses.
_MESSAGE = {"role", "content", "type", "id", "status", "phase"}
_QUESTION = Keys("message (user, system, developer)", _MESSAGE)
_ANSWER = Keys("message (assistant)", _MESSAGE, {"tool_calls": _NO_LIST})
MESSAGES = {
    **dict.fromkeys(("user", "system", "developer"), _QUESTION),
    "assistant": _ANSWER,
}
"""Keys of a message, by its role."""

PARTS = {
    "text": Keys("part text", {"type", "text"}),
    "video_url": Keys("part video_url", {"type", "video_url"}),
    "input_video": Keys("part input_video", {"type", "input_video"}),
    "image_url": Keys("part image_url", {"type", "image_url"}),
    # as the models' own makers and transformers write them
    "video": Keys("part video", {"type", "video", "url"}),
    "image": Keys("part image", {"type", "image", "url"}),
    # of /v1/responses
    "input_text": Keys("part input_text", {"type", "text"}),
    "output_text": Keys("part output_text", {"type", "text", "annotations", "logprobs", "parsed"}),
    "input_image": Keys("part input_image", {"type", "image_url"}),
    "input_json": Keys("part input_json", {"type", "data"}),  # of /v1/decisions
}
"""Keys of a part of a message, by its type."""
IMAGE_URL = Keys("image_url", {"url"})
VIDEO_URL = Keys("video_url", {"url"})
INPUT_VIDEO = Keys("input_video", {"data", "url"})

RESPONSES = Keys(
    "the body of /v1/responses",
    {
        *_BOTH, "input", "instructions", "store", "metadata", "max_output_tokens",
        "text",
    },
    _REFUSED | {
        "max_tokens": _NONE, "response_format": _NONE,
        "background": _OFF, "include": _NO_LIST,
        "conversation": _NONE, "previous_response_id": _NONE, "prompt": _NONE,
    },
)  # fmt: skip
"""The whole body of a request to /v1/responses."""
TEXT = Keys("text", {"format"})
TEXT_FORMAT = Keys("text.format", _SCHEMA | {"type"})

_ABOUT_INPUT = {"model", "questions", "media_io_kwargs", "mm_processor_kwargs", "dycoke"}
DECISIONS = Keys("the body of /v1/decisions", {*_ABOUT_INPUT, "input"})
QUESTION = Keys("question", {"type", "name", "instructions", "choices", "levels"})
CHOICE = Keys("choice", {"value", "description"})
LEVEL = Keys("level", {"label", "description"})
SYSTEM_ONE = Keys("the body of /v1/systemone", {*_ABOUT_INPUT, "state", "assets"})
SYSTEM_ONE_QUESTION = Keys("question of /v1/systemone", {"type", "instructions", "criteria"})
ASSET = Keys("asset", {"type", "format", "data_base64"})


def text_of(given: Any, path: str) -> str:
    """A text."""
    if not isinstance(given, str) or not is_valid(given):
        raise Refused(f"{path} must be a text", path)
    return given


def list_of(given: Any, path: str) -> list[Any]:
    """A list."""
    if not isinstance(given, list):
        raise Refused(f"{path} must be a list", path)
    return given


def object_of(given: Any, path: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(given, dict):
        raise Refused(f"{path} must be an object", path)
    return given


def options_of(given: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """An object of the body, or of one of its objects, with options; empty where it isn't there."""
    found = given.get(keys.name.rpartition(".")[2])
    return {} if found is None else keys.object(found, keys.name)


def flag_of(given: Mapping[str, Any], key: str, path: str | None = None) -> bool:
    """A flag of an object; null is false."""
    value, path = given.get(key), path or key
    if value is not None and not isinstance(value, bool):
        raise Refused(f"{path} must be true or false", path)
    return bool(value)


def thinking(body: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Path and meaning of each key that says whether the model thinks."""
    given = {path: body.get(path) for path in _THINKS if "." not in path}
    for keys in (THINKING_BY, REASONING):
        value, name = body.get(keys.name), keys.name
        inner = keys.object(value, name) if isinstance(value, dict) else {"": value}
        given |= {f"{name}.{key}".rstrip("."): value for key, value in inner.items()}
    for path, value in given.items():
        means = [thinks for one, thinks in _THINKS.get(path, {}).items() if _is_same(value, one)]
        if means:
            yield path, means[0]
        elif value not in _EMPTY:
            ignore(path)
