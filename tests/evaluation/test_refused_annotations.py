"""Annotations and folders of benchmarks that aren't right: each ends in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.folder import AnnotationRow, read_rows
from tests.evaluation import miniatures
from tests.evaluation.miniatures import items_of, open_made


# What is wrong: benchmark, file, change of its content, sentence.
def _field(name: str, value: Any, row: int = 0) -> Any:
    def change(rows: Any) -> Any:
        rows[row][name] = value
        return rows

    return change


def _without(name: str) -> Any:
    return lambda rows: [{k: v for k, v in row.items() if k != name} for row in rows]


WRONG = [
    ("nextqa_mc_test", _field("answer", 5), r"test.csv, row 1: answer '5' is out of range \(0 to"),
    ("nextqa_mc_test", _field("answer", "B"), r"answer 'B' isn't a whole number"),
    ("nextqa_mc_test", _field("type", "XX"), r"row 1: type 'XX' is none of CW, CH, TN"),
    ("nextqa_mc_test", _field("a2", ""), r"row 1: a2 '' isn't a text"),
    ("nextqa_mc_test", _field("qid", 1, 0), r"has the question '4010069381_1' twice"),
    ("nextqa_mc_test", _without("a0"), r"test.csv, row 1 has no field 'a0': is it the file of ano"),
    ("mvbench_action_count", _field("answer", "pink"), r"answer 'pink' is none of the candidates"),
    ("mvbench_action_count", _field("candidates", ["blue"]), r"isn't a list of two texts or more"),
    ("mvbench_action_sequence", _field("end", 0.2), r"end '0.2' isn't after its start \(0.5\)"),
    ("mvbench_action_sequence", _field("start", "x"), r"start 'x' isn't a number of seconds"),
    ("mvbench_action_sequence", _field("start", -1), r"start '-1' isn't a time from 0 on"),
    ("mvbench_action_sequence", _field("start", 10**400), r"start '10+…' isn't a time from 0 on"),
    ("mvbench_action_sequence", _field("end", float("nan")), r"end 'nan' isn't a time from 0 on"),
    ("nextqa_mc_test", _field("answer", "9" * 5000), r"answer '9+…' isn't a whole number"),
    ("nextqa_mc_test", _field("a2", "x" * 200_000), r"line 2: that isn't CSV \(field"),
    ("mvbench_action_count", lambda rows: {"rows": rows}, r"action_count.json isn't a list, as th"),
    ("mvbench_action_count", lambda rows: [], r"action_count.json has no rows"),
    ("mvbench_action_count", lambda rows: [1], r"action_count.json, row 1 isn't an object"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "sentence"), WRONG)
def test_annotations_that_are_not_right(
    name: str, change: Any, sentence: str, tmp_path: Path
) -> None:
    if name == "nextqa_mc_test":
        miniatures.put_csv(tmp_path / "test.csv", change(miniatures.nextqa_rows()))
    else:
        task = name.removeprefix("mvbench_")
        rows = change(miniatures.mvbench_rows(task))
        miniatures.put_json(tmp_path / f"{task}.json", rows)
    with pytest.raises(UsageError, match=sentence):
        items_of(name, tmp_path)


@pytest.mark.parametrize("cell", ["-" * 50_000, "{[]}", "~" * 3000, "[" * 5000, "[" + "1" * 5000])
def test_cells_that_no_list_is_in(cell: str) -> None:
    with pytest.raises(UsageError, match=r"row 1: options '.*' isn't a list"):
        AnnotationRow("a.csv, row 1", {"options": cell}).texts("options")


@pytest.mark.parametrize("letter", ["E", "", "AB", "a"])
def test_a_letter_that_is_none(letter: str, tmp_path: Path) -> None:
    rows = miniatures.videomme_rows()
    rows[1]["answer"] = letter
    miniatures.put_json(tmp_path / "test.json", rows)
    with pytest.raises(UsageError, match=rf"row 2: answer '{letter}' is none of A, B, C, D"):
        items_of("videomme", tmp_path)


@pytest.mark.parametrize("content", [{"video_1": 1}, {"video_1": {"mc_question": 1}}, {"v": {}}])
def test_perception_without_questions(content: dict[str, Any], tmp_path: Path) -> None:
    miniatures.put_json(tmp_path / "all_valid.json", content)
    with pytest.raises(UsageError, match=r"all_valid\.json, v\S* has no list mc_question"):
        items_of("perceptiontest_val_mc", tmp_path)


def test_questions_and_answers_that_do_not_fit(tmp_path: Path) -> None:
    questions, answers = miniatures.activitynet_rows()
    miniatures.put_json(tmp_path / "test_q.json", questions)
    miniatures.put_json(tmp_path / "test_a.json", answers[1:])
    with pytest.raises(UsageError, match=r"row 1: test_a.json has no answer to 'v_abc_1'"):
        items_of("activitynetqa", tmp_path)
    answers[0]["type"] = 9
    miniatures.put_json(tmp_path / "test_a.json", answers)
    with pytest.raises(UsageError, match=r"type '9' is out of range \(0 to 8\)"):
        items_of("activitynetqa", tmp_path)


CONTENT = [
    (b"", r"test.json isn't JSON, or is cut off"),
    (b'[{"videoID": "x"', r"test.json isn't JSON, or is cut off"),
    (b"\xff\xfe", r"test.json can't be read \(Not UTF-8 text"),
    (b"version https://git-lfs.github.com/spec/v1\noid", r"test.json is only a Git LFS pointer"),
]


@pytest.mark.parametrize(("content", "sentence"), CONTENT)
def test_files_that_are_not_right(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "test.json").write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        items_of("videomme", tmp_path)
    (tmp_path / "test.parquet").write_bytes(content)
    cause = r"can't be read as Parquet|is only a Git LFS pointer"
    with pytest.raises(UsageError, match=rf"test.parquet ({cause})"):
        items_of("videomme", tmp_path)


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_the_folder_of_another_benchmark(name: str, tmp_path: Path) -> None:
    other = "nextqa_mc_test" if name != "nextqa_mc_test" else "mvbench"
    miniatures.make(other, tmp_path)
    sentence = rf"--data .* has no .*: {name} needs |has no field .* file of another benchmark\?"
    with pytest.raises(UsageError, match=sentence):
        items_of(name, tmp_path)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    dataset = open_made("nextqa_mc_test", tmp_path)
    with pytest.raises(
        UsageError, match=r"has no val\.csv, nor has a folder in it: nextqa_mc_test"
    ):
        dataset.items("validation", None)


def test_two_files_that_may_be_meant(tmp_path: Path) -> None:
    for kind in ("MC", "OE"):
        miniatures.put_csv(tmp_path / kind / "test.csv", miniatures.nextqa_rows())
    with pytest.raises(UsageError, match=r"several files that may be meant \(MC/test.csv, OE/test"):
        items_of("nextqa_mc_test", tmp_path)
    assert items_of("nextqa_mc_test", tmp_path / "MC")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--data .*/no doesn't exist"):
        open_dataset("videomme", tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--data .*/file isn't a folder"):
        open_dataset("videomme", tmp_path / "file")


def test_parquet_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    """Its reader hands out the names of columns without looking at them."""
    path = tmp_path / "test.parquet"
    miniatures.put_parquet(path, miniatures.videomme_rows())
    path.write_bytes(path.read_bytes().replace(b"video_id", b"\xffideo_id"))
    with pytest.raises(UsageError, match=r"test.parquet can't be read as Parquet"):
        read_rows(path)
