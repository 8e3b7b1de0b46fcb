"""Which words are videos and which are the question, told by what is on the disk and by quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.cli.flags.arguments import apart, quoted
from dycoke_cli.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with two videos, one whose name is two words, a file that is none, and a folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4", "my clip", "notes"):
        (tmp_path / name).write_text("")
    (tmp_path / "moves").mkdir()


@pytest.mark.parametrize(
    ("words", "videos", "question"),
    [
        (["a.mp4"], ["a.mp4"], None),
        (["a.mp4", "Why?"], ["a.mp4"], "Why?"),
        (["a.mp4", ""], ["a.mp4"], ""),
        (["a.mp4", " "], ["a.mp4"], " "),
        (["a.mp4", "-"], ["a.mp4"], "-"),
        (["-", "Why?"], ["-"], "Why?"),
        (["-", "What is it?"], ["-"], "What is it?"),
        (["a.mp4", "What", "moves", "here"], ["a.mp4"], "What moves here"),
        (["What", "moves", "a.mp4"], ["a.mp4"], "What moves"),
        (["Why?", "a.mp4"], ["a.mp4"], "Why?"),
        (["What is it?", "a.mp4"], ["a.mp4"], "What is it?"),
        (["a.mp4", "What is it?", "b.mp4"], ["a.mp4", "b.mp4"], "What is it?"),
        (["a.mp4", "b.mp4", "Which", "one"], ["a.mp4", "b.mp4"], "Which one"),
        (["a.mp4", "*.mp4", "Which", "one?"], ["a.mp4", "*.mp4"], "Which one?"),
        (["moves", "Why?"], ["moves"], "Why?"),
        (["a.mp4", "notes"], ["a.mp4", "notes"], None),
        (["my clip", "What is it?"], ["my clip"], "What is it?"),
        (["What is it?"], [], "What is it?"),
        # What isn't there is a video by its name, or where it stands.
        (["c.mp4", "What is it?"], ["c.mp4"], "What is it?"),
        (["c", "What is it?"], ["c"], "What is it?"),
        (["c", "Why?"], ["c"], "Why?"),
        (["c", "d.mp4"], ["c", "d.mp4"], None),
        (["her clip", "What is it?"], ["her clip"], "What is it?"),
        (["her clip.mp4"], ["her clip.mp4"], None),
        (["her clip.mp4", "his clip.mp4", "A or b?"], ["her clip.mp4", "his clip.mp4"], "A or b?"),
        (["a.mp4", "Is it c.mp4"], ["a.mp4"], "Is it c.mp4"),
        (["a.mp4", "https://example.org/c", "Why?"], ["a.mp4", "https://example.org/c"], "Why?"),
    ],
)
def test_apart(words: list[str], videos: list[str], question: str | None) -> None:
    assert apart(words) == (videos, question)


@pytest.mark.parametrize(
    "words",
    [
        ["a.mp4", "What", "is", "in", "b.mp4"],
        ["What", "is", "in", "a.mp4", "now"],
        ["a.mp4", "What", "is", "in", "notes"],
        ["What", "does", "a.mp4", "show", "b.mp4"],
        ["What", "a.mp4", "shows", "me"],
    ],
)
def test_a_question_with_a_file_in_it_needs_quotes(words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        apart(words)
    named = " ".join(words)
    assert str(refused.value) == (
        f"the question can't be told from the videos in {named}: put it in quotes"
    )


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("a/b-1.mp4", "a/b-1.mp4"),
        ("ä.mp4", "ä.mp4"),
        ("What is it?", '"What is it?"'),
        ("Why?", '"Why?"'),
        ("What's up?", '"What\'s up?"'),
        ("$5?", "'$5?'"),
        ("-q", '"-q"'),
        ("", '""'),
    ],
)
def test_quoted(word: str, typed: str) -> None:
    assert quoted(word) == typed
