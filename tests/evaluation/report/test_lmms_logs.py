"""Logs in the form that lmms-eval writes, with counts that were published or made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.report.combine import report_of
from tests.cli.harness import run_here

TASK = "2026-11-22_samples_videomme.jsonl"


def sample(number: int, said: str, correct: str, **metric: Any) -> dict[str, Any]:
    """As lmms-eval 0.7.3 writes it: the document and the arguments are left out."""
    return {
        "doc_id": number, "target": correct, "filtered_resps": said, "token_counts": [None],
        "doc_hash": "", "input": "Which?", **metric,
    }  # fmt: skip


def videomme(number: int, said: str, correct: str, video: str) -> dict[str, Any]:
    about = {"question_id": number, "pred_answer": said, "answer": correct, "videoID": video}
    return sample(number, said, correct, videomme_perception_score=about)


def log(path: Path, samples: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in samples))
    return path


def test_the_published_counts_of_a_study(tmp_path: Path) -> None:
    """MotionBench, 4,018 questions: 170 won, 142 lost, +.70 points, chi-square 2.34."""

    def asked(right: Callable[[int], bool]) -> Iterable[dict[str, Any]]:
        for n in range(4018):
            metrics = {"motionbench_acc": {"score": float(right(n)), "total": 1.0}}
            yield sample(n, "A" if right(n) else "B", "A", **metrics)

    before = log(tmp_path / "full" / TASK, asked(lambda n: 170 <= n < 2500))
    after = log(tmp_path / "dycoke" / TASK, asked(lambda n: n < 170 or 312 <= n < 2500))
    none, dycoke = report_of([before, after]).rows
    assert (none.spec, dycoke.spec, dycoke.fixed, dycoke.broken) == ("full", "dycoke", 170, 142)
    assert none.mcnemar is None
    assert dycoke.mcnemar == pytest.approx((28 - 1) ** 2 / 312)
    assert f"{dycoke.mcnemar:.2f}" == "2.34"
    assert dycoke.mcnemar_p == pytest.approx(0.126, abs=0.001)  # chi-square table, one degree
    assert dycoke.difference == pytest.approx(28 / 4018)
    outcome = run_here("eval", "report", before, after)
    assert outcome.code == 0
    for text in ("170", "142", "+0.7 ± 0.4", "2.34 (p 0.13)", "about 1.2 points on"):
        assert text in " ".join(outcome.out.split())
    assert "4018 of 4018 questions don't name their video" in outcome.err


def test_videos_are_clusters(tmp_path: Path) -> None:
    """Two questions about each of two videos, whose error was computed by hand."""
    paths = [
        log(tmp_path / f"{name}_samples_videomme.jsonl", (
            videomme(n, said, "A", f"v{n // 2}") for n, said in enumerate(answers)
        ))
        for name, answers in (("none", "abAA"), ("evs", "AABB"))
    ]  # fmt: skip
    none, evs = report_of(paths).rows
    assert (none.spec, none.accuracy) == ("none_samples_videomme", 3 / 4)  # case doesn't matter
    # 0, 1 | -1, -1; from the mean -1/4 by video 3/2 and -3/2.
    assert evs.difference == -1 / 4
    assert evs.difference_error == pytest.approx(math.sqrt(2 * 2 * (3 / 2) ** 2) / 4)
    assert (evs.changed, evs.fixed, evs.broken) == (4, 1, 2)


def test_several_logs_are_compared_by_holm(tmp_path: Path) -> None:
    """Twelve videos; one log loses on six of them, one on four, one on none."""
    paths = [
        log(tmp_path / name / TASK, (videomme(n, "AB"[n < lost], "A", f"v{n}") for n in range(12)))
        for name, lost in (("none", 0), ("six", 6), ("four", 4), ("same", 0))
    ]
    none, six, four, same = report_of(paths).rows
    # sqrt(12 / 11 x 12 x 1/4) / 12 = 0.1508, so t = 3.317 with 11 degrees of freedom.
    assert six.difference_error == pytest.approx(0.1508, abs=1e-4)
    assert six.difference_p == pytest.approx(0.0069, abs=1e-4)
    # sqrt(12 / 11 x 12 x 2/9) / 12 = 0.1421, t = 2.345: above 2.201, the quantile at 97.5 %.
    assert four.difference_p == pytest.approx(0.0388, abs=1e-4)
    assert (none.difference_p, same.difference_p) == (None, None)
    adjusted = [row.difference_p_holm for row in (none, six, four, same)]
    assert adjusted == [None, 2 * six.difference_p, four.difference_p, None]
    told = " ".join(run_here("eval", "report", *paths).out.split())
    assert "at the 5 % level by Holm's procedure over 2 comparisons (Student's t): #2, #3. " in told
    alone = " ".join(run_here("eval", "report", paths[0], paths[2]).out.split())
    assert "Different from it at the 5 % level (Student's t): #2. " in alone
    assert "Student's t)" not in run_here("eval", "report", paths[0], paths[3]).out
    # Half as many videos: t = 2 with five degrees of freedom, below 2.571.
    fewer = [
        log(tmp_path / "few" / name / TASK, (videomme(n, "AB"[n < lost], "A", f"v{n}")
                                              for n in range(6)))
        for name, lost in (("none", 0), ("three", 3))
    ]  # fmt: skip
    assert "(Student's t): none. " in " ".join(run_here("eval", "report", *fewer).out.split())


def test_a_method_that_changed_nothing_is_named(tmp_path: Path) -> None:
    paths = [
        log(tmp_path / name / TASK, (videomme(n, "A", "AB"[n % 2], f"v{n}") for n in range(40)))
        for name in ("none", "off")
    ]
    report = report_of(paths)
    assert report.warnings == ("off changed none of 40 answers; make sure that it ran",)
    assert (report.benchmark, report.videos, report.rows[1].seconds) == ("videomme", 40, None)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"exact_match": True}, 1.0),
        ({"submission": {"video_name": "a"}, "accuracy": {"score": 0.5}}, 0.5),
        ({"mvbench_accuracy": {"pred_answer": "B", "gt_answer": "A"}}, 0.0),
        ({"lvb_acc": {"id": "x", "answer": "C", "parsed_pred": "C"}}, 1.0),
        ({"score": {"pred": 3, "ground_truth": "3"}}, 1.0),
        ({"gpt_eval_score": {"Correctness": "yes", "score": 4}}, None),
    ],
)
def test_forms_of_a_metric(metrics: dict[str, Any], expected: float | None, tmp_path: Path) -> None:
    """The first that scores from 0 to 1, as tasks of lmms-eval have them."""
    path = log(tmp_path / TASK, [sample(0, "x", "y", **metrics)])
    if expected is None:
        with pytest.raises(UsageError, match="each answer from 0 to 1, but gpt_eval_score"):
            report_of([path])
    else:
        assert report_of([path]).rows[0].accuracy == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: lines[:1], None),
        (lambda lines: [*lines, "{"], "line 3: that isn't a sample of lmms-eval"),
        (lambda lines: [*lines, lines[0].replace('"A"', '"C"')], "question 0 has two answers"),
        (lambda lines: [line.replace('"target": "A"', '"target": "B"') for line in lines],
         "aren't about the same questions: question 0 has another reference"),
    ],
)  # fmt: skip
def test_what_is_refused(
    change: Callable[[list[str]], list[str]], sentence: str | None, tmp_path: Path
) -> None:
    samples = [videomme(n, "A", "A", "v") for n in range(2)]
    one, two = log(tmp_path / "a" / TASK, samples), log(tmp_path / "b" / TASK, samples)
    two.write_text("\n".join(change(two.read_text().splitlines())))
    outcome = run_here("eval", "report", one, two, "--quiet")
    assert outcome.code == (0 if sentence is None else 2)
    assert sentence is None or sentence in outcome.err
