"""Prompts with tools are stock ones; a model's calls are parsed as transformers does it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from jsonschema import validate

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.chat import QuestionWithVariables, ToolTurn, text_message
from dycoke_cli.server.tool_calls import CallFormat, ToolCall
from dycoke_cli.server.tools import ForcedCall
from tests.families.stock import clip
from tests.families.test_together import loaded_of
from tests.families.tiny import make
from tests.forms import NEEDS_LIBRARY
from tests.server.test_tools import TOOL

FAMILY = "qwen2_5_vl"
# As Qwen3-VL's: the tools first, calls and results in tags.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- else %}{{ part.text }}{% endif %}
{%- endfor %}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
FUNCTION = {"name": "zoom", "arguments": {"seconds": [1, 2.5]}}
CALLING = ToolTurn(
    [
        {
            "role": "assistant",
            "content": [],
            "tool_calls": [{"type": "function", "function": FUNCTION}],
        }
    ]
)
RESULT = ToolTurn([{**text_message("tool", "A star."), "tool_call_id": "c"}], [TOOL])
VIDEO: dict[str, Any] = {"type": "video"}


@pytest.fixture
def with_tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny model whose template takes tools."""
    loaded = loaded_of(FAMILY)
    monkeypatch.setattr(loaded.processor, "chat_template", TEMPLATE)
    return loaded


def stock_ids(loaded: Any, session: VideoSession, messages: list[Any]) -> torch.Tensor:
    """The stock template's prompt, with the text of the video put in by hand."""
    text = loaded.processor.apply_chat_template(
        messages, tools=[TOOL], add_generation_prompt=True, tokenize=False
    )
    shown, expanded = session.video.shown, session.video.expanded
    return loaded.processor.tokenizer(text.replace(shown, expanded), return_tensors="pt")[
        "input_ids"
    ]


def test_prompts_are_those_of_the_stock_template(with_tools: Any) -> None:
    session = VideoSession(with_tools, clip(4))
    first = {"role": "user", "content": [VIDEO, {"type": "text", "text": "What?"}]}
    question = ToolTurn([text_message("user", "What?")], [TOOL])
    assert torch.equal(session.video.input_ids(question), stock_ids(with_tools, session, [first]))
    found = session.video.input_ids(RESULT, [("What?", CALLING)])
    whole = stock_ids(with_tools, session, [first, *CALLING.messages, *RESULT.messages])
    assert torch.equal(found, whole)
    assert not torch.equal(session.video.input_ids("What?"), session.video.input_ids(question))


def test_an_answer_to_a_result(with_tools: Any) -> None:
    """By a method, twice: turns with tools are turns like any other to it."""
    session = VideoSession(with_tools, clip(4))
    for _ in range(2):
        answer = session.ask(RESULT, DyCoke(), history=[("What?", CALLING)], max_new_tokens=3)
        ids = session.video.input_ids(RESULT, [("What?", CALLING)])
        assert answer.tokens.text == ids.shape[1] - answer.tokens.visual
        assert answer.question == "A star."


@pytest.mark.parametrize("place", ["question", "tool", "result"])
def test_no_text_has_a_special_token(with_tools: Any, place: str) -> None:
    session = VideoSession(with_tools, clip(4))
    special = with_tools.processor.tokenizer.all_special_tokens[0]
    bad = {**TOOL, "function": {**TOOL["function"], "description": f"a {special}"}}
    question = {
        "question": ToolTurn([text_message("user", special)], [TOOL]),
        "tool": ToolTurn([text_message("user", "What?")], [bad]),
        "result": ToolTurn([text_message("tool", special)], [TOOL]),
    }[place]
    with pytest.raises(UsageError, match="a meaning of its own"):
        session.ask(question, DyCoke(), max_new_tokens=2)


def test_a_call_of_the_family_is_parsed(with_tools: Any) -> None:
    form = CallFormat.of(with_tools.processor, with_tools.model)
    assert form is not None
    said = 'I look. <tool_call>\n{"name": "zoom", "arguments": {"seconds": [1]}}\n</tool_call>'
    call = ToolCall("zoom", '{"seconds": [1]}')
    for size in (1, 7, len(said)):
        parser, found = form.parser([TOOL]), []
        for start in range(0, len(said), size):
            found += parser.feed(said[start : start + size])
        found += parser.end()
        assert "".join(one for one in found if isinstance(one, str)) == "I look."
        assert [one for one in found if isinstance(one, ToolCall)] == [call]


def test_models_whose_calls_nobody_parses(with_tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stock parser, a template without tools, tags that are special tokens."""
    model, processor = make("llava_onevision")
    assert CallFormat.of(processor, model) is None
    monkeypatch.setattr(processor, "chat_template", TEMPLATE)
    assert CallFormat.of(processor, model) is None
    tokenizer = with_tools.processor.tokenizer
    special = [*tokenizer.all_special_tokens, "<tool_call>"]
    monkeypatch.setattr(type(tokenizer), "all_special_tokens", property(lambda _: special))
    assert CallFormat.of(with_tools.processor, with_tools.model) is None
    monkeypatch.undo()
    plain = replace(loaded_of(FAMILY))
    assert CallFormat.of(plain.processor, plain.model) is None


@NEEDS_LIBRARY
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.slow
def test_a_forced_call_of_a_random_model_fits_its_schema(with_tools: Any, named: bool) -> None:
    """It would never call anything by itself; by jsonschema, for several seeds."""
    parameters = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Part"}, "closer": {"type": "boolean"}},
        "required": ["at", "closer"],
        "additionalProperties": False,
        "$defs": {"Part": {"enum": ["left", "right"]}},
    }
    function = {"name": "look", "parameters": parameters}
    other = deepcopy(TOOL)
    other["function"]["parameters"] = {"type": "object", "additionalProperties": False}
    tools = ({"type": "function", "function": function}, other)[: 1 if named else 2]
    forced = ForcedCall(tools, named=named)
    session = VideoSession(with_tools, clip(4))
    question = ToolTurn([text_message("user", "What?")], tools)
    names = set()
    for seed in range(6):
        answer = session.ask(
            question, DyCoke(), temperature=1.5, seed=seed, structured=forced.form()
        )
        call = forced.call_of(answer.answer)
        names.add(call.name)
        [schema] = [
            one["function"]["parameters"] for one in tools if one["function"]["name"] == call.name
        ]
        validate(json.loads(call.arguments), schema)
    assert names == ({"look"} if named else {"look", "zoom"})


def test_a_variable_of_the_template_changes_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the stock template has it, and not as an equal question without the variable."""
    loaded = loaded_of(FAMILY)
    template = TEMPLATE + "{% if enable_thinking is false %}<think>\n\n</think>{% endif %}"
    monkeypatch.setattr(loaded.processor, "chat_template", template)
    session = VideoSession(loaded, clip(4))
    user = {"role": "user", "content": [VIDEO, {"type": "text", "text": "What?"}]}
    prompts = []
    for variables in ({}, {"enable_thinking": False}, {"enable_thinking": True}):
        found = session.video.input_ids(QuestionWithVariables("What?", variables))
        text = loaded.processor.apply_chat_template(
            [user], add_generation_prompt=True, tokenize=False, **variables
        )
        shown, expanded = session.video.shown, session.video.expanded
        text = text.replace(shown, expanded)
        stock = loaded.processor.tokenizer(text, return_tensors="pt")["input_ids"]
        assert torch.equal(found, stock)
        prompts.append(found.shape[1])
    assert prompts[0] == prompts[2] < prompts[1]
    assert session.video.input_ids("What?").shape[1] == prompts[0]
