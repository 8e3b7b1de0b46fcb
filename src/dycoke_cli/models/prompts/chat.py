"""The chat template of a model: conversations, rendered and checked for special tokens.

A template is untrusted code. transformers runs it in Jinja's sandbox, which limits its access but
neither its run time nor its memory: a single operation may take hours, or all memory. So a template
that isn't of this package is rendered in an isolated process, with limits on both.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, published, published_names
from dycoke_cli.processes.isolated import Channel, Isolated, LateError, NonsenseError
from dycoke_cli.processes.sandbox import seal
from dycoke_cli.processes.zygote import GoneError

if TYPE_CHECKING:
    import torch


# Turns of a conversation. Importing this file imports neither torch nor transformers.


def text_message(role: str, text: str) -> dict[str, Any]:
    """Message of a text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


Turns = Sequence[tuple[str, str]]
"""Pairs of question and answer, oldest first."""


def chat_text(
    processor: Any,
    question: str,
    history: Turns = (),
    *,
    videos: int = 1,
    subtitles: str = "",
) -> str:
    """Conversation rendered by the stock chat template."""
    conversation = conversation_of(question, history, videos, subtitles)
    return render(processor, conversation, variables=variables_of(question))


def conversation_of(
    question: str, history: Turns, videos: int, subtitles: str
) -> list[dict[str, Any]]:
    """Messages for `apply_chat_template`: history and question.

    The first turn contains the videos, then the subtitles, then its question.
    """
    conversation: list[dict[str, Any]] = []
    for earlier, answer in history:
        conversation += [text_message("user", earlier), text_message("assistant", answer)]
    conversation.append(text_message("user", question))
    # Video and subtitles in the first turn are a common prefix of all prompts of a chat, which the
    # prefix cache reuses.
    conversation[0]["content"][0]["text"] = subtitles + conversation[0]["content"][0]["text"]
    conversation[0]["content"][:0] = [{"type": "video"}] * videos
    return conversation


def check_plain(processor: Any, question: str, history: Turns, subtitles: str = "") -> None:
    """Check that no text contains a special token of the model.

    The tokenizer would encode it as that token, so a text could end its turn or add a placeholder.
    """
    # Some processors replace the text of these tokens, although the tokenizer doesn't list them as
    # special.
    own = (getattr(processor, name, None) for name in ("video_token", "image_token"))
    for token in (*processor.tokenizer.all_special_tokens, *map(str, filter(None, own))):
        if token in subtitles:
            raise UsageError(
                f"the subtitles contain {token!r}, which has a meaning of its own to the model; "
                "take it out of them, or leave out --subtitles"
            )
        if any(token in text for turn in [(question,), *history] for text in turn):
            raise UsageError(
                f"the question contains {token!r}, which has a meaning of its own to the model; "
                "leave it out"
            )


def check_shows_video(processor: Any) -> None:
    """Check that the chat template has a place for a video."""
    if chat_text(processor, "") == chat_text(processor, "", videos=0):
        raise _unusable("it has no place for a video")


def text_ids(processor: Any, question: str, history: Turns = ()) -> torch.Tensor:
    """Token ids `[1, S]`, int64, of a prompt without a video."""
    check_plain(processor, question, history)
    chat = chat_text(processor, question, history, videos=0)
    return processor(text=[chat], return_tensors="pt")["input_ids"]


PROCESS = f"{__name__}:serve"
PREPARE = f"{__name__}:prepare"
# Published templates take 20 ms, most of it for compilation, and a few MB.
_CPU_S = 1.0
_MEMORY_BYTES = 256 << 20
_LATE_S = 20.0
_MOST_BYTES = 32 << 20  # of a prompt; the longest context has a few MB of text
_MAX_TEXT = 1 << 18
_NONE: Mapping[str, Any] = MappingProxyType({})
_LOCK = threading.Lock()
# In place of an untrusted template: what it would be given, as JSON.
_MARK = "<given to the template>"
_GIVEN = _MARK + "{{ dict(messages=messages) | tojson }}"


class QuestionWithVariables(str):
    """Question whose prompt is rendered with variables of the chat template."""

    __slots__ = ("variables",)

    variables: Mapping[str, Any]

    def __new__(cls, question: str, variables: Mapping[str, Any]) -> Self:
        """The same text, with variables."""
        made = super().__new__(cls, question)
        made.variables = variables
        return made


def variables_of(question: str) -> Mapping[str, Any]:
    """Variables of the chat template that a question sets."""
    return question.variables if isinstance(question, QuestionWithVariables) else {}


def check_template(processor: Any) -> None:
    """Check the chat template of a processor before it is compiled."""
    template = _default(processor.chat_template)
    if not isinstance(template, str):
        raise _unusable("it has none, so it can't be asked questions")
    if len(template) > _MAX_TEXT:
        raise _unusable("it is longer than any real one")
    from jinja2 import TemplateError

    try:
        names_in(template)
    except TemplateError as error:
        raise _unusable(f"it isn't a template: {error}") from error


def names_in(template: Any) -> frozenset[str]:
    """All names in the chat template of a processor, its variables among them."""
    from jinja2 import Environment

    tokens = Environment().lex(_default(template) or "")
    return frozenset(value for _, kind, value in tokens if kind == "name")


def render(
    processor: Any,
    conversation: Sequence[Any],
    *,
    answered: bool = False,
    variables: Mapping[str, Any] = _NONE,
) -> str:
    """Render a conversation with the stock template, up to where the answer begins."""
    begins = {"add_generation_prompt": not answered}
    given: dict[str, Any] = {"tokenize": False, **begins}
    try:
        with _LOCK:
            template = _default(processor.chat_template)
            if template in _trusted():
                return str(processor.apply_chat_template(conversation, **given, **variables))
            kept, processor.chat_template = processor.chat_template, _GIVEN
            try:
                # Its class may change the messages, or have a template of its own for videos.
                text = str(processor.apply_chat_template(conversation, **given))
            finally:
                processor.chat_template = kept
            if not text.startswith(_MARK):
                return text
            # Of a model of text alone the processor is its tokenizer.
            words = getattr(processor, "tokenizer", processor).special_tokens_map
            more = words | json.loads(text.removeprefix(_MARK))
            return _isolated(template, {**more, **begins, **variables})
    except DycokeError:
        raise
    except Exception as error:
        raise _unusable(_reason(error)) from error


def _isolated(template: str, given: Mapping[str, Any]) -> str:
    """Render a template in its process."""
    process = _process(os.getpid(), template)
    try:
        process.limit(memory_bytes=_MEMORY_BYTES, cpu_s=_CPU_S)
        with process.within(_LATE_S):
            process.send({"chat_template": template, **given})
            reply = process.receive()
            why, size = str(reply["error"]), int(reply["bytes"])
            if why or not 0 <= size <= _MOST_BYTES:
                raise _unusable(why or "it writes more than any real one")
            text = bytearray(size)
            process.receive_into(memoryview(text))
            return text.decode("utf-8", "surrogatepass")
    except BaseException as error:
        _process.cache_clear()
        process.stop()  # what it still sends isn't the answer to the next request
        if isinstance(error, (GoneError, LateError, NonsenseError)):
            raise _unusable("it takes more time or memory than any real one") from error
        raise


@lru_cache(maxsize=2)  # a comparison has two models
def _process(_: int, template: str) -> Isolated:
    """The process of a template, which keeps it compiled; one per process, as forks share files."""
    process = Isolated(PROCESS, PREPARE)
    try:
        process.await_ready()
    except (GoneError, NonsenseError) as error:
        raise DycokeError("the process that renders chat templates can't start") from error
    return process


def prepare() -> None:
    """Load what can't be read inside the sandbox; runs once in the zygote."""
    import jinja2.debug  # noqa: F401 - which Jinja imports at the first error
    from transformers.utils.chat_template_utils import render_jinja_template

    render_jinja_template([[]], chat_template="{{ strftime_now('%B') | tojson }}")


def serve(channel: Channel) -> None:
    """Render conversations until the other end of the channel is closed."""
    from transformers.utils.chat_template_utils import render_jinja_template

    prepare()
    seal()
    channel.send({})
    while True:
        given, _ = channel.receive()
        raw, why = b"", ""
        try:
            [text], _ = render_jinja_template([given.pop("messages")], **given)
            raw = text.encode("utf-8", "surrogatepass")
        except Exception as error:
            why = _reason(error)
        channel.send({"error": why, "bytes": len(raw)}, raw)


@cache
def _trusted() -> frozenset[str]:
    """The chat templates that are part of this package."""
    bundled = (BUNDLED_CHECKPOINT / "chat_template.jinja").read_text(encoding="utf-8")
    processors = [published(name).processor for name in published_names()]
    return frozenset([bundled, *("".join(one["chat_template"]) for one in processors)])


def _default(template: Any) -> Any:
    return template.get("default") if isinstance(template, dict) else template


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it takes more memory than any real one"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _unusable(why: str) -> ModelError:
    return ModelError(f"the model's chat template can't be used: {why}; download the model again")
