"""Texts in any script, against what their writers see as equal."""

from __future__ import annotations

import re
import unicodedata

import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.scoring.rules import bare, comparable, exact_match, rouge_l, split_words

SAME = [
    ("Yes.", "yes"),
    ("“Yes”", "yes"),
    ("«Oui !»", "oui"),
    ("「はい」。", "はい"),
    ("（ｙｅｓ）", "yes"),
    ("[yes]", "yes"),
    ("¿Sí?", "sí"),
    ("si\u0301", "sí"),
    ("हाँ।", "हाँ"),
    ("نعم؟", "نعم"),
    ("نَعَم", "نعم"),
    ("STRASSE", "Straße"),
    ("İstanbul", "istanbul"),
    ("yes\u200b", "yes"),
    ("\u200fyes", "yes"),
    ("a  dog\u00a0runs", "a dog runs"),
    ("١٢", "١٢"),
    ("**yes**", "yes"),
]
DIFFERENT = [
    ("की", "का"),
    ("กา", "กี"),
    ("año", "ano"),
    ("50%", "50"),
    ("-5", "5"),
    ("$3", "3"),
    ("#1", "1"),
    ("3.5", "35"),
    ("", "yes"),
    ("C++", "C"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_texts(one: str, other: str) -> None:
    assert bare(one) == bare(other)
    assert exact_match(Item("1", "v", "", one, "", ""), other).right


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_texts(one: str, other: str) -> None:
    assert bare(one) != bare(other)


def test_a_word_of_any_script_is_matched_whole() -> None:
    for word in ("हिन्दी", "ไทยเป็น", "தமிழ்", "бәйге", "école", "e\u0301cole", "עִבְרִית", "العَرَبِيَّة"):
        assert re.fullmatch(r"\w+", comparable(word)), word
        decomposed = unicodedata.normalize("NFD", word)
        assert comparable(decomposed) == comparable(word)


def test_only_punctuation_is_no_answer() -> None:
    assert [bare(text) for text in ("", " ", "…", "“”", "()", "。")] == [""] * 6


def test_words_of_rouge() -> None:
    assert split_words("The dog_runs, OK? 3.5") == ["the", "dog", "runs", "ok", "3", "5"]
    assert split_words("कुत्ता दौड़ता है") == [*map(comparable, ("कुत्ता", "दौड़ता", "है"))]
    assert split_words("狗在跑。") == ["狗", "在", "跑"]
    # Three of four characters in order: recall 3/4 and precision 3/3, by hand.
    assert rouge_l("白狗在跑", "狗在跑") == pytest.approx(2 * 3 / 7)
