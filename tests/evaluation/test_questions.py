"""A user's own questions: the file, what is wrong with it, and a run to the end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets import open_dataset, rule_of
from tests.cli.harness import ROOT, run_here, run_light
from tests.pages import section

CLIPS = ROOT / "sample_videos"
ROWS: list[dict[str, Any]] = [
    {"video": "move.mp4", "question": "What moves?", "answer": "B", "options": ["a", "b"]},
    {"video": "move", "question": "What stays?", "answer": "B", "options": ["b", "c"]},
    {"video": "letters", "question": "Where?", "answer": "(c)", "options": ["x", "y", "z"],
     "category": "place", "id": "last"},
]  # fmt: skip


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("move.mp4", "letters.mkv"):
        path = tmp_path / "videos" / name[:4] / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    return tmp_path / "videos"


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def items_of(file: Path, videos: Path) -> dict[str, Item]:
    return {item.id: item for item in open_dataset(str(file), videos).items("test", None)}


def test_rows_are_questions(tmp_path: Path, videos: Path) -> None:
    items = items_of(jsonl(tmp_path, ROWS), videos)
    assert sorted(items) == ["1", "2", "last"]
    first, second, last = items["1"], items["2"], items["last"]
    # However it is spelled, a video is one; it decides which answers go together.
    assert first.video == second.video == "move/move.mp4"
    assert (last.video, last.kind, last.answer) == ("lett/letters.mkv", "place", "C")
    assert first.question == (
        "What moves?\nA. a\nB. b\nAnswer with the option's letter from the given choices directly."
    )
    # The text of an option goes before a letter: B is the first option here.
    assert (first.answer, second.answer) == ("B", "A")


def test_an_answer_is_the_text_of_an_option_in_any_unicode_form(
    tmp_path: Path, videos: Path
) -> None:
    options = ["Ne\u0301e", "Bär"]
    rows = [
        {"video": "move", "question": "Who?", "answer": answer, "options": options}
        for answer in ("née", "BA\u0308R", "Ｂ")
    ]
    assert [item.answer for item in items_of(jsonl(tmp_path, rows), videos).values()] == [
        "A", "B", "B",
    ]  # fmt: skip


def test_csv_is_the_same(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "video,question,answer,options,category,id\n"
        "move.mp4,What moves?,B,a | b,,1\n"
        'move,What stays?,B,"[""b"", ""c""]",,2\n'
        "letters,Where?,(c),x|y|z,place,last\n",
        encoding="utf-8",
    )
    assert items_of(path, videos) == items_of(jsonl(tmp_path, ROWS), videos)


def test_without_options_an_answer_is_the_same_words(tmp_path: Path, videos: Path) -> None:
    rows = [{"video": "move", "question": "What colour?", "answer": "Dark blue"}]
    dataset = open_dataset(str(jsonl(tmp_path, rows)), videos)
    (item,) = dataset.items("test", None)
    assert item.question == "What colour?"
    assert dataset.score(item, "dark  blue.").right
    assert dataset.score(item, "<think>red?</think>Dark blue").right
    assert not dataset.score(item, "blue").right
    assert not dataset.score(item, "").parsed
    # Kept answers are scored without the file.
    assert rule_of("mine.jsonl") == dataset.score


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"video": "nowhere"}, "mine.jsonl, row 2: video 'nowhere' isn't below --data .*videos"),
        ({"video": 3.5}, "mine.jsonl, row 2: video '3.5' isn't below"),
        ({"answer": "d"}, "mine.jsonl, row 2: answer 'd' is none of the options"),
        ({"answer": "x", "options": ["x", "X"]}, "answer 'x' is several of the options"),
        ({"options": None}, "mine.jsonl, row 2 has more or fewer values|row 2 has no options"),
        ({"options": ["a"]}, "row 2: options .* isn't a list of two texts or more"),
        ({"options": [*map(str, range(27))]}, "has 27 texts, and there are 26 letters"),
        ({"options": "a|"}, "row 2: options 'a|' aren't 2 to 26 texts"),
        ({"options": ""}, "row 2 has no options, unlike row 1: put questions with options and"),
        ({"id": "1"}, None),
        ({"id": "last"}, "mine.jsonl, row 3: id 'last' is that of an earlier row, too"),
        ({"question": ""}, "mine.jsonl, row 2: question '' isn't a text"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    changes: dict[str, Any], sentence: str | None, tmp_path: Path, videos: Path
) -> None:
    file = jsonl(tmp_path, [ROWS[0], {**ROWS[1], **changes}, ROWS[2]])
    if sentence is None:  # the first row's number is no id that it claims before another does
        sentence = "row 2: id '1' is that of an earlier row, too"
    with pytest.raises(UsageError, match=sentence) as error:
        items_of(file, videos)
    assert str(error.value).count("\n") == 0


def test_a_missing_column_and_a_missing_file(tmp_path: Path, videos: Path) -> None:
    file = jsonl(tmp_path, [{"video": "move", "frage": "What?"}])
    with pytest.raises(
        UsageError, match=r"row 1 has no question and no answer: each question needs"
    ):
        items_of(file, videos)
    with pytest.raises(UsageError, match=r"none\.csv doesn't exist: name a file of questions"):
        open_dataset(str(tmp_path / "none.csv"), videos)
    outcome = run_here("eval", tmp_path / "none.csv", "--data", videos)
    assert (outcome.code, outcome.out) == (2, "")


def test_a_wrong_row_is_said_before_torch_is_imported(tmp_path: Path, videos: Path) -> None:
    file = jsonl(tmp_path, [{**ROWS[0], "video": "nowhere"}])
    run = run_light(["eval", file, "--data", videos], heavy=["torch"])
    assert run.code == 2
    assert "mine.jsonl, row 1: video 'nowhere' isn't below --data" in " ".join(run.err.split())


def test_what_is_not_known_is_named(tmp_path: Path, videos: Path) -> None:
    dataset = open_dataset(str(jsonl(tmp_path, [{**ROWS[0], "source": "me"}])), videos)
    dataset.items("test", None)
    assert dataset.notes() == ["mine.jsonl has fields that aren't known, and are ignored: source"]


@pytest.mark.extended
@pytest.mark.slow
def test_the_example_of_the_page_runs_resumes_and_is_reported(tmp_path: Path) -> None:
    page = section("evaluate.md", "Questions of your own")
    (rows,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"\$ dycoke (eval questions\.jsonl --data .*)", page)
    file = tmp_path / "questions.jsonl"
    file.write_text(rows, encoding="utf-8")
    name, *flags = command.split()[1:]
    assert name == file.name
    given = [str(CLIPS) if flag == "sample_videos" else flag for flag in flags]
    given += ["--device", "cpu", "--max-tokens", "4", "--json", "--quiet"]
    whole = run_here("eval", file, *given, "--out", tmp_path / "out")
    assert whole.code == 0, whole.err
    first, second = whole.object["rows"]
    assert whole.object["benchmark"] == "questions.jsonl"
    assert (first["spec"], first["questions"]) == ("none", len(rows.splitlines()))
    assert set(first["by_type"]) == {"order", "motion"}
    assert second["difference"] is not None
    # Nothing is asked again, and the report needs neither file nor videos.
    answers = (tmp_path / "out" / "answers.jsonl").read_bytes()
    again = run_here("eval", file, *given, "--out", tmp_path / "out")
    assert again.object["rows"] == whole.object["rows"]
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == answers
    file.unlink()
    kept = run_here("eval", "report", tmp_path / "out", "--json", "--quiet")
    assert kept.object["rows"] == whole.object["rows"]
