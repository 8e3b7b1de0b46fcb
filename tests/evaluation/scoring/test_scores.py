"""What answers to the published benchmarks are worth: by hand, and by a published rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation import eval_run
from dycoke_cli.evaluation.dataset import About, Dataset, Item
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.evaluation_report import _unchanged as unchanged
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, Setup, unanswered
from dycoke_cli.evaluation.scored_row import ScoredRow, list_changes, make_row
from dycoke_cli.evaluation.scoring.rules import rouge_l
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.evaluation import miniatures


def predicted(dataset: Dataset, item: Item, said: str) -> Prediction:
    """As an evaluation makes it of an answer."""
    score = dataset.score(item, said)
    return Prediction(
        item.id, said, score.right, dict(score.parts), 32, 16, 8, 3, 0.5, 100,
        parsed=score.parsed, value=score.value,
    )  # fmt: skip


def row_of(
    about: About,
    items: list[Item],
    predictions: list[Prediction],
    base: list[Prediction] | None = None,
) -> ScoredRow:
    def by_item(these: list[Prediction]) -> dict[str, Prediction]:
        return {one.item: one for one in these}

    compared = None if base is None else by_item(base)
    setup = Setup("0", "own", "1", "test", {"name": "m"}, {"name": "none"}, 2)
    return make_row(
        KeptRow(*parse_specs("none"), {}, setup), items, by_item(predictions), compared,
        metric=about.metric, macro=about.macro,
    )  # fmt: skip


def opened(name: str, folder: Path) -> tuple[Dataset, list[Item]]:
    dataset = open_dataset(name, miniatures.make(name, folder))
    return dataset, dataset.items(dataset.about.splits[0], None)


@pytest.mark.parametrize(
    ("answer", "said", "right", "official"),
    [
        ("blue", "blue", True, 1),
        ("blue", "Blue.", True, 0),
        ("blue", " blue\n", True, 0),
        ("blue", "a blue", False, 0),
        ("yes", "Yes, it is", False, 0),
        ("play  the guitar", "Play the guitar!", True, 0),
        ("no.3", "no.3", True, 1),
        ("no.3", "no3", False, 0),
        ("t-shirt, blue", "t-shirt blue", False, 0),
        ("2", "two", False, 0),
        ("blue", "", False, 0),
    ],
)
def test_activitynet_answers(
    answer: str, said: str, right: bool, official: float, tmp_path: Path
) -> None:
    dataset = open_dataset("activitynetqa", tmp_path)
    item = Item("1", "v", "What?", answer, "color", "")
    score = dataset.score(item, said)
    assert (score.right, score.parts, score.parsed) == (right, {"official": official}, said != "")


def published_script(preds: list[dict[str, str]], told: list[dict[str, Any]]) -> dict[int, float]:
    """Accuracy by type, as ActivityNet-QA's own evaluation says it: the same text or wrong."""
    answers = {one["question_id"]: one for one in told}
    kinds = {one["type"] for one in told}
    right = dict.fromkeys(kinds, 0)
    for pred in preds:
        truth = answers[pred["question_id"]]
        right[truth["type"]] += pred["answer"] == truth["answer"]
    return {kind: right[kind] / sum(one["type"] == kind for one in told) for kind in kinds}


def test_activitynet_by_type_is_what_the_published_script_says(tmp_path: Path) -> None:
    kinds = [0, 3, 3, 3, 4, 4, 7, 8, 8, 8]
    told = [{"answer": f"a{n}", "type": k, "question_id": f"v_{n}"} for n, k in enumerate(kinds)]
    asked = [
        {"video_name": f"x{n % 3}", "question": "what", "question_id": one["question_id"]}
        for n, one in enumerate(told)
    ]
    miniatures.put_json(tmp_path / "test_a.json", told)
    miniatures.put_json(tmp_path / "test_q.json", asked)
    dataset = open_dataset("activitynetqa", tmp_path)
    items = dataset.items("test", None)
    texts = {f"v_{n}": f"a{n}" if n % 3 else "other" for n in range(len(kinds))}
    row = row_of(dataset.about, items, [predicted(dataset, item, texts[item.id]) for item in items])
    names = {0: "motion", 3: "yes/no", 4: "color", 7: "number", 8: "other"}
    preds = [{"question_id": name, "answer": text} for name, text in texts.items()]
    for kind, accuracy in published_script(preds, told).items():
        assert row.by_type[names[kind]].accuracy == pytest.approx(accuracy)
    assert row.by_part["official"].accuracy == pytest.approx(0.6)
    assert row.by_label["yes/no"].accuracy == pytest.approx(2 / 3)
    assert row.by_label["all but yes/no"].questions == 7


@pytest.mark.parametrize(
    ("right", "said", "f1"),
    [
        ("A blue star moves.", "a blue, star; MOVES", 1),
        # "a star" is common: 2 of 4 and 2 of 2 words.
        ("a blue star moves", "a star", 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        # Common in order: "the cat mat" or "the sat mat" of 6 and 5 words.
        ("the cat sat on the mat", "the sat cat mat now", 2 * (3 / 6) * (3 / 5) / (3 / 6 + 3 / 5)),
        ("a blue star", "nothing", 0),
        ("a blue star", "", 0),
    ],
)
def test_rouge_l_by_hand(right: str, said: str, f1: float) -> None:
    assert rouge_l(right, said) == pytest.approx(f1)


def test_captions_are_graded(tmp_path: Path) -> None:
    dataset, items = opened("video_dc499", tmp_path)
    first, second = items
    full = predicted(dataset, first, "A blue star moves to the right of a white picture.")
    half = predicted(dataset, second, "a blue star moves to")
    empty = predicted(dataset, second, "")
    assert (full.score, half.score, empty.score) == (1, pytest.approx(10 / 16), 0)
    row = row_of(dataset.about, items, [full, half], [full, empty])
    assert row.accuracy == pytest.approx((1 + 10 / 16) / 2)
    assert row.difference == pytest.approx(10 / 16 / 2)
    # Nothing is right or wrong here.
    assert (row.changed, row.fixed, row.broken) == (1, None, None)
    by = [{one.item: one for one in these} for these in ([full, half], [full, empty])]
    (change,) = list_changes("x", items, *by)
    assert change.outcome == "graded"
    assert row_of(dataset.about, items, [full, empty]).unparsable == 1


def test_what_is_not_understood_stays_in_the_denominator(tmp_path: Path) -> None:
    """Dropped, as VideoMME's own script does, it would be 100 %; drawn at random, anything."""
    dataset, items = opened("videomme", tmp_path)
    texts = ["A", "I can't tell", ""]
    predictions = [predicted(dataset, *pair) for pair in zip(items, texts, strict=True)]
    row = row_of(dataset.about, items, predictions)
    assert (row.questions, row.unparsable, row.failed) == (3, 2, 0)
    assert row.accuracy == pytest.approx(1 / 3)
    assert row.by_label["short"].accuracy == pytest.approx(1 / 2)
    assert row.by_label["medium"].accuracy == 0


def test_a_question_without_an_answer_stays_there_too(tmp_path: Path) -> None:
    dataset, items = opened("videomme", tmp_path)
    told = [predicted(dataset, items[0], "A"), predicted(dataset, items[1], "B")]
    failed = unanswered(dataset, items[2], "x.mp4 is cut off")
    row = row_of(dataset.about, items, [*told, failed])
    assert (row.questions, row.unparsable, row.failed) == (3, 0, 1)
    assert row.accuracy == pytest.approx(2 / 3)
    # Costs are those of answers.
    assert (row.seconds, row.bytes, row.kept_before_llm) == (0.5, 100, 0.5)


def test_mvbench_is_the_mean_of_its_tasks(tmp_path: Path) -> None:
    dataset, items = opened("mvbench", tmp_path)
    right = {"action_sequence_0", "action_count_0", "scene_transition_0"}
    texts = {item.id: f"({item.answer})" if item.id in right else "none" for item in items}
    row = row_of(dataset.about, items, [predicted(dataset, item, texts[item.id]) for item in items])
    assert len(row.by_type) == 20
    assert row.accuracy == pytest.approx(3 / 25)
    # Half of the one that has two questions, and two whole ones.
    assert row.macro_accuracy == pytest.approx(2.5 / 20)
    assert row.by_label == {}


def test_other_benchmarks_have_no_mean_over_kinds(tmp_path: Path) -> None:
    dataset, items = opened("nextqa_mc_test", tmp_path)
    row = row_of(dataset.about, items, [predicted(dataset, item, "A") for item in items])
    assert row.macro_accuracy is None
    assert {name: group.questions for name, group in row.by_label.items()} == {
        "temporal": 1, "descriptive": 1, "causal": 1,
    }  # fmt: skip


def test_questions_about_one_part_of_a_video_share_a_job(tmp_path: Path) -> None:
    """And with it the frames and their encoding, under all methods."""
    _, items = opened("mvbench", tmp_path)
    rows = [
        KeptRow(spec, spec.create().parameters(), Setup("", "mvbench", "1", "test", {}, {}, None))
        for spec in parse_specs("none,evs,no-video")
    ]
    asked = {f"{n}/{item.id}": (row, item) for n, row in enumerate(rows) for item in items}
    request = Request("mini", LoadOptions(), Sampling(frames=4), Method(), GenerationOptions())
    groups = eval_run._groups(asked, request)  # type: ignore[arg-type]
    assert sorted(ask.id or "" for group in groups for ask in group) == sorted(asked)

    def of(name: str) -> list[tuple[Sampling | None, int]]:
        """Frames that are read for each group of a video, and its questions."""
        return [
            (None if group[0].blind else group[0].request.sampling, len(group))
            for group in groups
            if group[0].videos[0].name.startswith(name)
        ]

    assert of("star/Charades_v1_480/ZS9XR.mp4") == [
        (Sampling(frames=4, start_s=0.5, end_s=1.5), 6),
        (Sampling(frames=4, start_s=1.0, end_s=2.0), 6),
        (None, 6),
    ]
    assert of("clevrer/") == [(Sampling(frames=4), 10), (None, 5)]
    # What belongs to one video stands together.
    names = [group[0].videos[0].name for group in groups]
    assert len([n for i, n in enumerate(names) if i == 0 or names[i - 1] != n]) == len(set(names))


@pytest.mark.parametrize(
    ("questions", "kept", "named"),
    # (1 - 0.1 × dropped) ** questions against 0.05: 0.95 ** 58 = 0.051, 0.95 ** 59 = 0.048.
    [
        (58, 16, False),
        (59, 16, True),
        (10, 29, False),
        (10, 3, False),
        (40, 3, True),
        (500, 32, False),
    ],
)
def test_no_change_is_named_where_it_is_unlikely(
    questions: int, kept: int, named: bool, tmp_path: Path
) -> None:
    dataset, items = opened("nextqa_mc_test", tmp_path)
    asked = [replace(items[0], id=str(n), video=str(n)) for n in range(questions)]
    said = [
        replace(predicted(dataset, one, "A"), visual_kept=kept, visual_read=kept) for one in asked
    ]
    row = row_of(dataset.about, asked, said, said)
    assert len(unchanged([row])) == named


def test_a_method_that_changes_a_failure_is_counted(tmp_path: Path) -> None:
    dataset, items = opened("nextqa_mc_test", tmp_path)
    base = [unanswered(dataset, item, "gone") for item in items]
    new = [predicted(dataset, item, item.answer) for item in items]
    row = row_of(dataset.about, items, new, base)
    assert (row.changed, row.fixed, row.broken) == (3, 3, 0)
    same = row_of(dataset.about, items, base, base)
    assert (same.changed, same.seconds, same.failed) == (0, None, 3)
    assert replace(base[0], error=None).score == 0
