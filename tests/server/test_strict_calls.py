"""Strict tools that an answer may call, by OpenAI's client: a random model's calls fit the schemas.

What it writes beside them is what it writes without `strict`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import openai
import pytest
import torch
from jsonschema import validate
from pydantic import BaseModel
from tokenizers import AddedToken
from transformers import LogitsProcessor, LogitsProcessorList

from dycoke_cli.engine.grammar_mask import FormedAnswer
from dycoke_cli.server.tool_calls import CallFormat
from dycoke_cli.server.tools import StrictCalls
from tests.families.parts import tokenizer
from tests.families.test_together import loaded_of
from tests.families.test_tools import TEMPLATE
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import VIDEO, body_of, running, served
from tests.server.test_chat_request import read
from tests.server.test_forced_call import PLACE, USER
from tests.server.test_tools import CALL, FORM, TOOL
from tests.server.tiny_model import service_of

pytestmark = NEEDS_LIBRARY

FAMILY = "qwen2_5_vl"
END = "<|im_end|>"
OPENING, CLOSING = "<tool_call>", "</tool_call>"
LETTERS = "abcdefghijklmnopqrstuvwxyz ,."


class Look(BaseModel):
    """Look at a side of the picture."""

    at: Literal["left", "right"]
    closer: bool


LOOK: Any = openai.pydantic_function_tool(Look)
LOOSE = {**LOOK, "function": {**LOOK["function"], "strict": False}}
FLAT = {"type": "function", **LOOK["function"]}
MESSAGES = json.loads(body_of("What?"))["messages"]
INPUT: Any = [
    {
        "role": "user",
        "content": [
            {"type": "video_url", "video_url": {"url": VIDEO}},
            {"type": "input_text", "text": "What?"},
        ],
    }
]


class Biased(LogitsProcessor):
    """Makes tokens likelier than all others, but no token that is ruled out."""

    def __init__(self, words: Any, wanted: Callable[[str], list[str]]) -> None:
        self._words, self._wanted = words, wanted
        self._prompt: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        for row, ids in zip(scores, input_ids[:, self._prompt :], strict=True):
            wanted = self._wanted(self._words.decode(ids, skip_special_tokens=True))
            row[[self._words(one)["input_ids"][0] for one in wanted]] += 1e4
        return scores


def calls_twice(said: str) -> list[str]:
    """A text, a call, another call, and the end: what stands in the calls is the model's own."""
    beginnings = [f"I look. {OPENING}", f"\n{OPENING}"]
    done = said.count(CLOSING)
    rest = said.rpartition(CLOSING)[2]
    if done == len(beginnings):
        return [END]
    return [beginnings[done][len(rest)]] if len(rest) < len(beginnings[done]) else []


@pytest.fixture
def biased(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], openai.OpenAI]]:
    """Makes the client of a server, whose tiny random model has a bias in what it writes."""
    loaded = loaded_of(FAMILY)
    monkeypatch.setattr(loaded.processor, "chat_template", TEMPLATE)
    calls = CallFormat.of(loaded.processor, loaded.model)
    stock = loaded.model.generate

    def serving(wanted: Callable[[str], list[str]]) -> openai.OpenAI:
        def generate(*arguments: Any, logits_processor: Any, **options: Any) -> Any:
            bias = Biased(loaded.processor.tokenizer, wanted)
            processors = LogitsProcessorList([*logits_processor, bias])
            return stock(*arguments, logits_processor=processors, **options)

        monkeypatch.setattr(loaded.model, "generate", generate)
        return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

    end = loaded.processor.tokenizer.convert_tokens_to_ids(END)
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", end)
    with served(service_of(monkeypatch, loaded, calls=calls)) as port:
        yield serving


def choice_of(client: openai.OpenAI, tool: Any, most: int, **more: Any) -> Any:
    reply = client.chat.completions.create(
        model="mini", messages=MESSAGES, tools=[tool], max_tokens=most, **more
    )
    [choice] = reply.choices
    return choice


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_a_random_model_fit_the_schema(biased: Any, stream: bool) -> None:
    """As the client's own tools of pydantic classes send it: strict, and no `tool_choice`."""
    client = biased(calls_twice)
    asked: Any = {"model": "mini", "messages": MESSAGES, "tools": [LOOK]}
    drawn = set()
    for seed in range(2):
        asked |= {"max_tokens": 400, "temperature": 1.5, "seed": seed}
        if stream:
            with client.chat.completions.stream(**asked) as events:
                [choice] = events.get_final_completion().choices
        else:
            [choice] = client.chat.completions.parse(**asked).choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "I look."
        assert len(choice.message.tool_calls) == 2
        for call in choice.message.tool_calls:
            validate(json.loads(call.function.arguments), LOOK["function"]["parameters"])
            drawn.add(json.dumps(Look.model_validate_json(call.function.arguments).model_dump()))
    assert len(drawn) > 1  # which are the model's own


@pytest.mark.slow
def test_without_strict_it_writes_no_call_and_one_that_is_cut_is_a_text(biased: Any) -> None:
    """The same model, the same bias: so what stands in its calls above is due to the form."""
    client = biased(calls_twice)
    assert choice_of(client, LOOSE, 60).message.tool_calls is None
    cut = choice_of(client, LOOK, 30)
    assert (cut.finish_reason, cut.message.tool_calls) == ("length", None)
    assert cut.message.content.startswith(f"I look. {OPENING}")


@pytest.mark.slow
def test_calls_in_responses(biased: Any) -> None:
    """As OpenAI's Agents SDK sends it: the flat form, strict, `tool_choice` auto."""
    reply = biased(calls_twice).responses.create(
        model="mini", input=INPUT, tools=[FLAT], tool_choice="auto", max_output_tokens=400
    )
    message, *calls = reply.output
    assert message.content[0].text == "I look."
    assert [call.type for call in calls] == ["function_call"] * 2
    for call in calls:
        Look.model_validate_json(call.arguments)


@pytest.mark.slow
@pytest.mark.parametrize("most", [40, 7])
def test_a_text_is_what_it_is_without_strict(biased: Any, most: int) -> None:
    """Drawn, and greedy; ended by the model, and cut."""
    client = biased(lambda said: [END] if len(said) > 30 else [*LETTERS])
    texts = set()
    for more in ({}, {"temperature": 2, "seed": 3, "extra_body": {"repetition_penalty": 2}}):
        found = [choice_of(client, tool, most, **more) for tool in (LOOK, LOOSE)]
        assert found[0].message == found[1].message
        assert [one.finish_reason for one in found] == ["stop" if most == 40 else "length"] * 2
        texts.add(found[0].message.content)
    assert len(texts) == 2
    assert all(re.fullmatch("[a-z ,.]+", text) for text in texts)


@pytest.fixture(scope="module")
def allowed() -> Callable[..., set[str]]:
    """Which tokens may come behind others, by a tokenizer of bytes with tokens for the marks."""
    from llguidance.hf import from_tokenizer

    words = tokenizer()
    words.add_tokens([AddedToken(text, special=False) for text in (OPENING, CLOSING, "<think>")])
    added = words.get_added_vocab()
    del added[END]  # not every end token is one of these
    marks = CallFormat(FORM.template, FORM.prefix, added).marks
    assert marks is not None
    forms = [StrictCalls((LOOK,), most_one).form(marks) for most_one in (False, True)]
    vocabulary = from_tokenizer(words, eos_token=[words.convert_tokens_to_ids(END)])
    spelled = {" ": "Ġ", "\n": "Ċ"}

    def behind(*tokens: str, most_one: bool = False) -> set[str]:
        answer = FormedAnswer(vocabulary, forms[most_one])
        ended = [answer.add(words.convert_tokens_to_ids(spelled.get(one, one))) for one in tokens]
        assert not any(ended[:-1])
        if ended[-1:] == [True]:
            return {END}
        bits = np.unpackbits(answer.allowed(), bitorder="little")
        return {*words.convert_ids_to_tokens(np.flatnonzero(bits).tolist())}

    return behind


OBJECT = '\n{"name": "Look", "arguments": {"at": "left", "closer": true}}\n'


def test_a_call_opens_with_its_token_or_its_text(allowed: Callable[..., set[str]]) -> None:
    """By hand: what may come next. In a text that is anything, and the end."""
    anything = allowed()
    assert {*"aZ <{", END, OPENING, CLOSING, "<think>", "<|video_pad|>"} - {" "} <= anything
    assert allowed(most_one=True) == anything
    for text in ("Hi <tool_call", "<|tool_call>", "<think>", "no call>"):
        assert allowed(*text) == anything
    assert allowed("<think>", *"yes", "<think>") == anything
    assert allowed(*"no call>", most_one=True) == anything
    for opened in ([OPENING], [*OPENING], [*"Hi ", OPENING], ["<think>", *OPENING]):
        assert allowed(*opened) == allowed(*opened, most_one=True) == {"{", "Ċ"}
        assert allowed(*opened, *OBJECT[:-2]) == {"}"}
        assert allowed(*opened, *OBJECT[:-1]) == {"Ċ", "<", CLOSING}
        # Behind one call another may come, or the answer ends.
        assert allowed(*opened, *OBJECT, most_one=True) == {"<", CLOSING}
        assert allowed(*opened, *OBJECT, CLOSING, most_one=True) == {END}
        for closed in ([CLOSING], [*CLOSING]):
            assert allowed(*opened, *OBJECT, *closed) == anything
            assert allowed(*opened, *OBJECT, *closed, "\n", *opened) == {"{", "Ċ"}
    assert allowed(OPENING, *OBJECT[: OBJECT.index("left")]) == {"l", "r"}


@pytest.mark.slow
def test_an_answer_that_wants_two_calls_has_one(biased: Any) -> None:
    client = biased(calls_twice)
    message = choice_of(client, LOOSE, 400, parallel_tool_calls=False).message
    assert message.content == "I look."
    [call] = message.tool_calls
    assert isinstance(json.loads(call.function.arguments), dict)
    reply = client.responses.create(
        model="mini", input=INPUT, tools=[FLAT], parallel_tool_calls=False, max_output_tokens=400
    )
    assert [one.type for one in reply.output] == ["message", "function_call"]
    assert reply.parallel_tool_calls is False


def test_the_arguments_of_a_tool_that_is_not_strict_are_any_object() -> None:
    request = read([USER], tools=[TOOL, PLACE])
    assert request.generation.structured is None  # before the model's marks are known
    assert request.offer.strict is not None
    loose, strict = request.offer.strict.tools
    assert loose["function"]["parameters"] == {"type": "object"}
    assert strict["function"]["parameters"] == PLACE["function"]["parameters"]
    # The template shows all of both.
    shown = [tool["function"]["parameters"] for tool in request.tools]
    assert shown == [tool["function"]["parameters"] for tool in (TOOL, PLACE)]
    assert read([USER], tools=[TOOL], parallel_tool_calls=False).offer.strict is not None
    for more in ({"tools": [TOOL]}, {"tools": [PLACE], "tool_choice": "none"}, {}):
        assert read([USER], **more).offer.strict is None


def calls_written(**changed: Any) -> CallFormat:
    """A template's notation of calls with something changed in it."""
    fields = FORM.template["fields"]
    calls = {**fields["tool_calls"], **changed}
    return CallFormat({**FORM.template, "fields": {**fields, "tool_calls": calls}}, "")


@pytest.mark.parametrize(
    ("changed", "is_object"),
    [
        ({}, True),
        ({"open": "[CALL]", "open_pattern": None}, True),
        ({"open": ["<call>", "[CALL]"], "open_pattern": None}, False),
        ({"open_pattern": r"<tool_call>\s*<function=(?P<name>[^>\n]+)>"}, False),
        ({"content": "xml-inline"}, False),
        ({"content_args": {"unquoted_keys": True}}, False),
        ({"close": None, "close_pattern": "</tool_call>"}, False),
        ({"close": ["</tool_call>", "<end>"]}, False),
        ({"transform": {"type": "function", "function": {"name": "{name}"}}}, False),
    ],
    ids=str,
)
def test_which_notations_are_objects_between_marks(
    changed: dict[str, Any], is_object: bool
) -> None:
    assert (calls_written(**changed).marks is not None) == is_object


def test_notations_of_stock_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen3.5 writes each argument in a tag of its own."""
    for family, is_object in (("qwen2_5_vl", True), ("qwen3_vl", True), ("qwen3_5", False)):
        loaded = loaded_of(family)
        monkeypatch.setattr(loaded.processor, "chat_template", TEMPLATE)
        form = CallFormat.of(loaded.processor, loaded.model)
        assert form is not None
        assert (form.marks is not None) == is_object


def test_what_cannot_be_held_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {**LOOK["function"], "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}
    flat = json.dumps({"input": "?", "tools": [FLAT]}).encode()
    with running(monkeypatch, calls=calls_written(content="xml-inline")) as server:
        status, reply = server.ask("What?", tools=[LOOK])
        assert (status, reply["error"]["param"]) == (400, "tools")
        assert "mini doesn't write calls as JSON" in reply["error"]["message"]
        assert server.request("POST", "/v1/responses", flat)[0] == 400
        assert server.pretended.batches == []
    with running(monkeypatch, calls=FORM) as server:
        status, reply = server.ask("What?", tools=[{"type": "function", "function": odd}])
        assert (status, reply["error"]["param"]) == (400, "tools")
        assert "can't be followed" in reply["error"]["message"]
        for more in ({"stop": ["x"]}, {"logprobs": True}):
            status, reply = server.ask("What?", tools=[LOOK], **more)
            assert (status, "strict tools" in reply["error"]["message"]) == (400, True)
        assert server.pretended.batches == []
        # And a model that can: the call is parsed as without `strict`.
        status, reply = server.ask(CALL, tools=[LOOK])
        assert (status, reply["choices"][0]["finish_reason"]) == (200, "tool_calls")
