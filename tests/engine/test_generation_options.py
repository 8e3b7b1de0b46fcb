"""Options of typed questions are parsed and refused before anything runs.

Drawing, stop texts and log-probabilities: against stock `generate()` and whole forwards.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.engine.generate import UntilStop
from dycoke_cli.engine.generation_options import (
    MOST_OPTIONS,
    GenerationOptions,
    TokenOptions,
    TypedOptions,
)
from dycoke_cli.engine.session import Question, ask_together, ask_without_video
from dycoke_cli.errors import ContextError, UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.chat import text_ids
from dycoke_cli.param import key_part
from tests.families.sessions import bundled, loaded_of
from tests.natural import Pictures, cut, pan


def test_a_list_a_file_and_a_range(tmp_path: Path) -> None:
    assert TypedOptions.parse(" red, dark blue ,10").texts == ("red", "dark blue", "10")
    file = tmp_path / "options.txt"
    file.write_bytes("\ufeffred, or orange\r\nblåt\n".encode())
    assert TypedOptions.parse(str(file)).texts == ("red, or orange", "blåt")
    assert TypedOptions.yes_no().texts == ("yes", "no")
    assert TypedOptions.parse_score("-1-2").texts == ("-1", "0", "1", "2")


def test_a_file_whose_name_looks_like_a_list(tmp_path: Path) -> None:
    file = tmp_path / "red,blue.txt"
    file.write_text("green\nyellow\n")
    assert TypedOptions.parse(str(file)).texts == ("green", "yellow")


def test_options_in_python_that_are_refused() -> None:
    wrong: Any = "yes,no"
    with pytest.raises(UsageError, match=r"several texts, .*, not 'yes,no'"):
        TypedOptions(wrong)
    with pytest.raises(UsageError, match="'a' of a score isn't a whole number"):
        TypedOptions(("1", "a"), is_score=True)


def test_the_mean_is_that_of_the_numbers() -> None:
    score = TypedOptions.parse_score("1-4")
    shares = dict(zip(score.texts, [0.5, 0.25, 0.25, 0.0], strict=True))
    assert score.mean(shares) == pytest.approx(1.75)
    assert TypedOptions(("1", "4")).mean({"1": 0.5, "4": 0.5}) is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("red,blue,red", "the option 'red' is given 2 times"),
        ("red,,blue", "an option is empty"),
        ("red, ", "an option is empty"),
        ("red", "is neither a list, as in --choices red,blue, nor a file"),
        ("re\x1b[31md,blue", r"isn't one line of printable text"),
        (",".join(map(str, range(MOST_OPTIONS + 1))), "257 options are more than the 256"),
    ],
)
def test_a_list_that_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        TypedOptions.parse(given)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"one\n", "two options or more"), (b"a\n\nb\n", "is empty"), (b"\xff\n", "Not UTF-8")],
)
def test_a_file_that_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "options.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        TypedOptions.parse(str(file))


@pytest.mark.parametrize("given", ["5-1", "3-3", "1", "a-b", "1-5-9", "1.5-2"])
def test_a_range_that_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="two whole numbers, as in 1-5"):
        TypedOptions.parse_score(given)
    with pytest.raises(UsageError, match="more than the 256 numbers"):
        TypedOptions.parse_score("1-1000")


def test_the_key_of_an_answer_has_the_options_where_there_are_any() -> None:
    plain = GenerationOptions()
    assert "typed" not in key_part(plain)
    keys = [
        key_part(GenerationOptions(typed=typed))
        for typed in (
            TypedOptions.yes_no(),
            TypedOptions.parse_score("1-2"),
            TypedOptions(("no", "yes")),
        )
    ]
    assert all(key not in keys[:number] for number, key in enumerate(keys))
    with pytest.raises(UsageError, match="scored, not sampled"):
        GenerationOptions(temperature=1.0, typed=TypedOptions.yes_no())


QUESTION = "What happens?"
PRUNED = DyCoke(prune_layer=2)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return loaded_of("llava_onevision")


def test_a_question_without_a_video_fits_the_context(loaded: LoadedModel) -> None:
    context, steps = loaded.context_length, list[int]()
    text = text_ids(loaded.processor, QUESTION).shape[1]
    with pytest.raises(ContextError) as refused:
        ask_without_video(loaded, QUESTION, options=GenerationOptions(context - text + 1))
    assert f"lower --max-tokens ({context - text + 1}) to {context - text}" in str(refused.value)
    with pytest.raises(ContextError, match="shorten it") as refused:
        ask_without_video(loaded, f"{QUESTION} " * context, options=GenerationOptions(1))
    assert "--max-tokens" not in str(refused.value)
    options = GenerationOptions(4)
    ask_without_video(loaded, QUESTION, options=options, on_token=steps.append)
    assert steps == [*range(1, 1 + len(steps))]
    assert steps


def test_a_text_up_to_a_stop_is_the_same_in_any_pieces() -> None:
    """Against cutting all that has come, with texts of two letters, in which stops begin often."""
    numbers = random.Random(5)
    for _ in range(3000):
        text = "".join(numbers.choices("ab", k=numbers.randrange(12)))
        stops = ["".join(numbers.choices("ab", k=numbers.randrange(1, 4))) for _ in range(2)]
        until, shown, come = UntilStop(stops), "", ""
        while len(come) < len(text) and not any(stop in come for stop in stops):
            piece = text[len(come) : len(come) + numbers.randrange(1, 4)]
            come += piece
            shown += until.add(piece)
        shown += until.add("", last=True)
        places = (n for n in range(len(come)) if come.startswith(tuple(stops), n))
        assert shown == come[: next(places, len(come))]
        assert until.add("more", last=True) == ("" if len(shown) < len(come) else "more")


@pytest.mark.parametrize(
    "tokens",
    [
        TokenOptions(top_k=3),
        TokenOptions(top_p=0.4),
        TokenOptions(min_p=0.3),
        TokenOptions(repetition_penalty=1.7, top_k=0),
    ],
    ids=str,
)
def test_answers_are_drawn_as_stock_generate_draws_them(
    loaded: LoadedModel, tokens: TokenOptions
) -> None:
    check_stock(loaded, tokens, temperature=0.05)


def test_a_greedy_answer_is_penalised_for_what_it_repeats(loaded: LoadedModel) -> None:
    check_stock(loaded, TokenOptions(repetition_penalty=5.0), temperature=0.0)


def check_stock(loaded: LoadedModel, tokens: TokenOptions, temperature: float) -> None:
    """Options change an answer, and are those of stock `generate()`."""
    plain = GenerationOptions(12, temperature, seed=7)
    ours = ask_without_video(loaded, QUESTION, options=replace(plain, tokens=tokens))
    named = {name: value for name, value in vars(tokens).items() if value not in (None, ())}
    if temperature:
        torch.manual_seed(7)
        named |= {"do_sample": True, "temperature": temperature}
    ids = text_ids(loaded.processor, QUESTION)
    stock = loaded.model.generate(input_ids=ids, max_new_tokens=12, **named)
    [text] = loaded.processor.tokenizer.batch_decode(
        stock[:, ids.shape[1] :], skip_special_tokens=True
    )
    assert ours.answer == text.strip()
    assert ours.answer != ask_without_video(loaded, QUESTION, options=plain).answer


def test_an_answer_ends_at_a_stop_text() -> None:
    session = VideoSession(bundled(), Pictures.of(pan(4, 64)))
    whole = session.ask(QUESTION, PRUNED, max_tokens=20)
    word = whole.answer.split()[2]
    shown: list[str] = []
    ended = session.ask(
        QUESTION,
        PRUNED,
        max_tokens=20,
        tokens=TokenOptions(stop=("nowhere", word[:2])),
        on_text=shown.append,
    )
    assert ended.answer == whole.answer[: whole.answer.index(word[:2])]
    assert ended.answer.endswith(" ")
    assert "".join(shown) == ended.answer
    assert ended.finish_reason == "stop"
    assert ended.tokens.generated == 3  # the token that completes it is the last one
    assert not [warning for warning in ended.warnings if "was cut" in warning]


def test_each_answer_of_a_batch_stops_by_itself() -> None:
    sessions = [VideoSession(bundled(), Pictures.of(video(4, 64))) for video in (pan, cut)]
    options = GenerationOptions(max_tokens=20, tokens=TokenOptions(stop=("e",)))
    asked = [Question(session, QUESTION) for session in sessions]
    for session, answer in zip(sessions, ask_together(asked, PRUNED, options), strict=True):
        alone = session.ask(QUESTION, PRUNED, **vars(options))
        assert (answer.answer, answer.tokens.generated) == (alone.answer, alone.tokens.generated)
        assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        (TokenOptions, {"top_p": 0}, "top_p must be"),
        (TokenOptions, {"top_k": -1}, "top_k must be"),
        (TokenOptions, {"min_p": 2}, "min_p must be"),
        (TokenOptions, {"repetition_penalty": 0}, "repetition_penalty must be"),
        (TokenOptions, {"stop": ("",)}, "1 to 1000 characters"),
        (GenerationOptions, {"max_tokens": 0}, "max_tokens must be 1 or more, not 0"),
        (
            GenerationOptions,
            {"temperature": float("nan")},
            "temperature must be 0 or more, not nan",
        ),
        (GenerationOptions, {"seed": 2**63}, f"seed must be from 0 to {2**63 - 1}, not {2**63}"),
    ],
)
def test_what_is_out_of_range(options: type, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        options(**given)
