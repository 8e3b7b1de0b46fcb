"""Options of typed questions: what is parsed, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_options import MOST_OPTIONS, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.param import key_part


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
    with pytest.raises(UsageError, match="several texts, not the one text 'yes,no'"):
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
