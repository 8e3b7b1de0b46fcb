"""Answers of a given form: as a mask that was made by hand has them, whatever the model says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dycoke_cli import DyCoke, StructuredOutput, Uncompressed, VideoSession
from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.engine import generate, structured_output
from dycoke_cli.engine.generate import Receiver
from dycoke_cli.engine.generation_options import GenerationOptions, end_tokens
from dycoke_cli.engine.grammar_mask import FormedAnswer, vocabulary_of
from dycoke_cli.engine.session import Question, ask_together, ask_without_video
from dycoke_cli.errors import UsageError
from tests.families.sessions import loaded_of, questions_of
from tests.families.stock import MERGING_ONLY, QUESTION, clip, one_of_each_kind, stock_inputs
from tests.families.tiny import MAKERS, make
from tests.families.typed import SIX, ending
from tests.forms import NEEDS_LIBRARY

pytestmark = NEEDS_LIBRARY

# A language of four texts, whose next bytes are counted by hand.
VALUES = ("a cat", "a dog", "birds", "ca")
TEXTS = tuple(json.dumps(value) for value in VALUES)
ENUM = StructuredOutput.from_schema({"enum": list(VALUES)})


class OneOf(LogitsProcessor):
    """Leaves the tokens that continue one of these texts, of a single answer."""

    def __init__(self, tokenizer: Any) -> None:
        self._texts = [tokenizer(text)["input_ids"] for text in TEXTS]
        self._prompt: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        so_far = input_ids[0, self._prompt :].tolist()
        allowed = [
            ids[len(so_far)]
            for ids in self._texts
            if ids[: len(so_far)] == so_far and len(ids) > len(so_far)
        ]
        masked = torch.full_like(scores, -torch.inf)
        masked[0, allowed] = scores[0, allowed]
        return masked


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_without_compression_it_is_stock_generate_under_a_mask_made_by_hand(family: str) -> None:
    model, processor = make(family)
    session = VideoSession(loaded_of(family), clip(4))
    answer = session.ask(QUESTION, Uncompressed(), structured=ENUM)
    mask = OneOf(processor.tokenizer)
    inputs = stock_inputs(family, processor, clip(4))
    with torch.no_grad():
        tokens = model.generate(
            **inputs,
            max_new_tokens=answer.tokens.generated,
            do_sample=False,
            logits_processor=LogitsProcessorList([mask]),
        )
    expected = processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])
    assert answer.answer == expected
    assert (answer.parsed, answer.finish_reason) == (json.loads(expected), "stop")
    assert answer.answer in TEXTS


METHODS = [
    *((family, DyCoke(prune_layer=2)) for family in SIX),
    *((family, DyCoke(kv_prune=False)) for family in MERGING_ONLY),
]


@pytest.mark.parametrize(("family", "method"), METHODS, ids=[family for family, _ in METHODS])
def test_with_decode_pruning_it_is_the_method_under_that_mask(
    family: str, method: DyCoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loaded_of(family)
    session = VideoSession(loaded, clip(5))
    answer = session.ask(QUESTION, method, structured=ENUM)
    mask = OneOf(loaded.processor.tokenizer)
    monkeypatch.setattr(generate, "LogitsProcessorList", lambda _: LogitsProcessorList([mask]))
    by_hand = session.ask(QUESTION, method, max_tokens=answer.tokens.generated)
    assert answer.answer == by_hand.answer
    assert (answer.tokens, answer.decode) == (by_hand.tokens, by_hand.decode)


@pytest.mark.parametrize("with_end", [False, True])
def test_an_answer_ends_with_its_object(with_end: bool) -> None:
    """One token a byte: nothing is generated behind the last bracket."""
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(4))
    pieces: list[str] = []
    with ending("llava_onevision") if with_end else nullcontext():
        answer = session.ask(QUESTION, DyCoke(), structured=ENUM, on_text=pieces.append)
    assert answer.tokens.generated == len(answer.answer.encode())
    assert "".join(pieces) == answer.answer
    assert json.loads(answer.answer) == answer.parsed
    assert not any("cut" in warning for warning in answer.warnings)


def test_each_of_a_batch_has_a_mask_of_its_own() -> None:
    loaded = loaded_of("llava_onevision")
    form = StructuredOutput.from_schema(
        {"type": "array", "items": {"enum": ["a", "bc"]}, "minItems": 1, "maxItems": 2}
    )
    questions, method = questions_of(loaded), DyCoke(prune_layer=2)
    together = ask_together(questions, method, GenerationOptions(structured=form))
    for item, found in zip(questions, together, strict=True):
        alone = item.session.ask(item.question, method, structured=form)
        assert (found.answer, found.parsed) == (alone.answer, alone.parsed)
        assert found.tokens == alone.tokens


def test_what_is_cut_is_an_error_and_the_others_are_answered() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(4))
    received: list[int] = []

    def receiver(number: int) -> Receiver:
        return Receiver(on_answer=lambda answer: received.append(number))

    digits = StructuredOutput("regex", "[0-9]{9}")
    questions = [
        Question(session, QUESTION, receiver=receiver(0), max_tokens=4),
        Question(session, QUESTION, receiver=receiver(1), max_tokens=9),
    ]
    sentence = r"isn't complete after 4 tokens: '\d{4}'; raise max_tokens"
    with pytest.raises(UsageError, match=sentence):
        ask_together(questions, DyCoke(), GenerationOptions(structured=digits))
    assert received == [1]


def test_white_space_is_behind_commas_and_colons_alone() -> None:
    """As json.dumps writes it: more costs tokens, and a weak model repeats it for ever."""
    loaded = loaded_of("llava_onevision")
    values = {"a": [1, {"b": True}, []], "c": None}
    form = StructuredOutput.from_schema({"const": values})
    answer = FormedAnswer(vocabulary_of(loaded, form, end_tokens(loaded.model)), form)
    tokenizer = loaded.processor.tokenizer
    white = {*tokenizer(" \n\r\t", add_special_tokens=False)["input_ids"]}
    assert len(white) == 4  # a token is a byte
    for token in tokenizer(json.dumps(values), add_special_tokens=False)["input_ids"]:
        allowed = {*np.flatnonzero(np.unpackbits(answer.allowed(), bitorder="little"))}
        assert white & allowed <= {token} <= allowed
        answer.add(token)
    assert answer.is_complete


def test_an_answer_that_may_go_on_is_complete_at_the_limit() -> None:
    session = VideoSession(loaded_of("llava_onevision"), clip(4))
    number = StructuredOutput("regex", "[0-9]+")
    answer = session.ask(QUESTION, DyCoke(), structured=number, max_tokens=7)
    assert (len(answer.answer), answer.finish_reason) == (7, "stop")
    assert answer.answer.isdigit()


def test_a_question_without_a_video_has_a_form_as_well() -> None:
    answer = ask_without_video(
        loaded_of("llava_onevision"), QUESTION, options=GenerationOptions(structured=ENUM)
    )
    assert answer.parsed in VALUES


def test_an_answer_that_is_nested_too_deep_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deeper than Python reads at once; a recursive schema has such answers."""
    monkeypatch.setattr(structured_output, "_OF_ANSWERS", Bounds(depth=2))
    session = VideoSession(loaded_of("llava_onevision"), clip(4))
    for depth in (2, 3):
        value: Any = 1
        for _ in range(depth):
            value = [value, 2]
        form = StructuredOutput.from_schema({"const": value})
        if depth == 2:
            assert session.ask(QUESTION, DyCoke(), structured=form).parsed == value
        else:
            with pytest.raises(UsageError, match="nested more than 2 deep; limit it in the schema"):
                session.ask(QUESTION, DyCoke(), structured=form)


def test_forms_that_are_no_json_have_no_value() -> None:
    """Drawn, for a random model draws other letters as soon as it may."""
    session = VideoSession(loaded_of("llava_onevision"), clip(4))
    for form in (
        StructuredOutput("regex", "(ab|cd){2}"),
        StructuredOutput("grammar", 'start: "ab" "cd"'),
    ):
        answer = session.ask(QUESTION, DyCoke(), structured=form, temperature=5.0, seed=1)
        assert set(answer.answer) <= set("abcd")
        assert len(answer.answer) == 4
        assert "parsed" not in answer.to_dict()
