"""Generation settings of tasks: each is honoured to the letter, or refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_lmms_eval.generation import read_generation, up_to

USUAL = GenerationOptions(max_tokens=64)
CHECKPOINT = SimpleNamespace(top_p=0.8, repetition_penalty=1.05, num_beams=None)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"max_new_tokens": 16}, {"max_tokens": 16}),
        # Of the published video tasks.
        ({"max_new_tokens": 16, "temperature": 0, "top_p": 1.0, "num_beams": 1, "do_sample": False},
         {"max_tokens": 16, "temperature": 0}),
        ({"temperature": 0, "top_p": None, "num_beams": None}, {"temperature": 0}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"do_sample": True, "temperature": 0.2}, {"temperature": 0.2}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}),  # as in transformers
        ({"do_sample": True, "seed": 3}, {"temperature": 1.0, "seed": 3}),
        ({"temperature": 0, "top_p": 0, "top_k": 1}, {"temperature": 0}),  # greedy anyway
        ({"repetition_penalty": 1.05}, {}),  # the checkpoint's own
        ({"temperature": 0.7, "top_p": 0.8}, {"temperature": 0.7}),
        ({"image_aspect_ratio": "original"}, {}),
    ],
)  # fmt: skip
def test_what_is_honoured(given: dict[str, Any], options: dict[str, Any]) -> None:
    found, stops = read_generation(given, USUAL, CHECKPOINT)
    assert found == GenerationOptions(**{"max_tokens": 64, **options})
    assert stops == ()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"num_beams": 4}, "num_beams=4 isn't supported"),
        ({"temperature": 0.7, "top_p": 1.0}, "top_p=1.0 isn't supported"),  # the checkpoint has 0.8
        ({"repetition_penalty": 1.0}, "repetition_penalty=1.0 isn't supported"),
        ({"visual_cot": {"save": True}}, "visual_cot={'save': True} isn't supported"),
        ({"max_tokens": 16}, "max_tokens=16 isn't supported"),
        ({"do_sample": True, "temperature": 0}, "do_sample=True and temperature=0 contradict"),
        ({"max_new_tokens": 0}, "max_tokens must be 1 or more, not 0"),
        ({"max_new_tokens": "16"}, "max_tokens must be a whole number, not '16'"),
    ],
)
def test_what_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_generation(given, USUAL, CHECKPOINT)
    assert sentence in str(refused.value)


def test_a_temperature_of_the_arguments_is_that_of_a_task_that_samples() -> None:
    usual = GenerationOptions(temperature=0.3)
    assert read_generation({"do_sample": True}, usual, CHECKPOINT)[0].temperature == 0.3
    assert read_generation({"do_sample": False}, usual, CHECKPOINT)[0].temperature == 0


@pytest.mark.parametrize(
    ("until", "answer", "left"),
    [
        ("\n\n", "B\n\nbecause", "B"),
        (["\n\n", "."], "B. It is\n\nso", "B"),
        (["Z", ""], "A B", "A B"),
        ([], "A\n\nB", "A\n\nB"),
        ("A", "A B", ""),
    ],
)
def test_an_answer_ends_at_the_first_of_until(until: Any, answer: str, left: str) -> None:
    stops = read_generation({"until": until}, USUAL, CHECKPOINT)[1]
    assert up_to(stops, answer) == left
