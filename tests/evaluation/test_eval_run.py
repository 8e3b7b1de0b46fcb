"""An evaluation asks each question once, resumes, and adds up."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError, OutOfMemoryError, UsageError, VideoError
from dycoke_cli.evaluation import eval_run
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.evaluation.eval_request import BUNDLED, Evaluation
from dycoke_cli.evaluation.eval_run import evaluate
from dycoke_cli.evaluation.evaluation_report import EvalReport
from dycoke_cli.evaluation.prediction import FILE
from dycoke_cli.evaluation.scored_row import ScoredRow
from dycoke_cli.models import load as loading
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import run_here
from tests.evaluation.prepared import Prepared, never
from tests.evaluation.samples import WHERE, Samples

CPU = replace(
    BUNDLED,
    loading=LoadOptions(device="cpu"),
    sampling=Sampling(frames=2),
    generation=GenerationOptions(max_tokens=4),
)


def plan(folder: Path, methods: str = "none,dycoke", **changes: object) -> Evaluation:
    small = Evaluation(Samples(), parse_specs(methods), CPU, limit_videos=2, out=folder)
    return replace(small, **changes)  # type: ignore[arg-type]


class Heard(Listener):
    """Remembers what it heard; stops the run at an answer."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.counts: list[tuple[int, int]] = []
        self.warnings: list[str] = []
        self._stop_at = stop_at

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def progress(self, counts: RunCounts) -> None:
        now = counts.done, counts.questions
        if self.counts[-1:] != [now]:
            self.counts.append(now)
        if counts.done == self._stop_at:
            raise KeyboardInterrupt


def answers(folder: Path) -> list[tuple[str, str]]:
    """(setup, question) of each answer in a journal whose line is whole."""
    path = folder / FILE
    content = path.read_text() if path.exists() else ""
    written = [json.loads(line) for line in content.splitlines(True) if line.endswith("\n")]
    return [(line["setup"], line["item"]) for line in written if "item" in line]


def figures(report: EvalReport) -> list[ScoredRow]:
    """All rows, without what takes another time each time."""
    none = {"seconds_prefill": None, "seconds_decode": None}
    return [replace(row, seconds=0.0, **none) for row in report.rows]


@pytest.fixture
def known_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", Prepared())


@pytest.mark.usefixtures("known_answers")
def test_a_run_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = evaluate(plan(tmp_path / "whole"))
    tmp_path = tmp_path / "in two"
    with pytest.raises(KeyboardInterrupt):
        evaluate(plan(tmp_path), Heard(stop_at=7))
    assert len(answers(tmp_path)) == 7
    heard = Heard()
    report = evaluate(plan(tmp_path), heard)
    assert heard.counts[0] == (7, 2 * 29)
    assert heard.counts[-1] == (58, 58)
    assert max(Counter(answers(tmp_path)).values()) == 1
    assert len(answers(tmp_path)) == 58
    assert figures(report) == figures(whole)


def test_what_is_there_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", Prepared())
    first = evaluate(plan(tmp_path, limit_videos=1))

    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", never)
    heard = Heard()
    again = evaluate(plan(tmp_path, limit_videos=1), heard)
    assert figures(again) == figures(first)
    assert heard.counts == [(28, 28)]
    # Fewer methods need no more answers; without `none` nothing can be compared.
    (alone,) = evaluate(plan(tmp_path, "dycoke", limit_videos=1)).rows
    assert (alone.changed, alone.difference) == (None, None)
    assert alone.accuracy == first.rows[1].accuracy


@pytest.mark.usefixtures("known_answers")
def test_a_damaged_line_is_said_and_asked_again(tmp_path: Path) -> None:
    first = evaluate(plan(tmp_path, limit_videos=1))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().replace(b'"right": ', b'"right": x', 1))
    heard = Heard()
    again = evaluate(plan(tmp_path, limit_videos=1), heard)
    assert heard.counts == [(27, 28), (28, 28)]
    assert heard.warnings[0].startswith("1 damaged line in ")
    assert list(again.warnings) == heard.warnings
    assert figures(again) == figures(first)


@pytest.mark.usefixtures("known_answers")
def test_all_methods_of_a_video_run_together(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(plan(tmp_path, "none,ttm", split="validation"), Heard(stop_at=2))
    (first, one), (second, other) = answers(tmp_path)
    assert one == other
    assert first != second


@pytest.mark.usefixtures("known_answers")
def test_rows_of_one_setup_are_asked_once(tmp_path: Path) -> None:
    heard = Heard()
    report = evaluate(plan(tmp_path, "dycoke,dycoke:merge_ratio=0.7", split="validation"), heard)
    assert heard.counts[-1] == (2, 2)
    one, other = report.rows
    assert replace(one, spec="") == replace(other, spec="")


def test_controls_see_less(tmp_path: Path) -> None:
    none, blind, one = evaluate(plan(tmp_path, "none,no-video,one-frame", split="validation")).rows
    assert [row.frames for row in (none, blind, one)] == [2, 0, 1]
    assert blind.kept_before_llm is blind.kept_in_decode is blind.kept_in_pruned_layers is None
    assert none.bytes > one.bytes > blind.bytes


@pytest.mark.usefixtures("known_answers")
def test_answers_of_several_commits_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit in ("aaa", "bbb"):
        monkeypatch.setattr(eval_run, "running_commit", lambda commit=commit: commit)
        limit = 1 if commit == "aaa" else 2
        report = evaluate(plan(tmp_path, "none", split="validation", limit_videos=limit))
    assert report.commits == ("aaa", "bbb")
    assert "made by several commits (aaa, bbb)" in report.warnings[0]


@pytest.mark.usefixtures("known_answers")
def test_questions_about_a_video_that_cannot_be_read_are_wrong_and_listed(tmp_path: Path) -> None:
    clips = list(dict.fromkeys(item.video for item in Samples().items("test", 2)))
    broken = Samples(broken=clips[1])
    report = evaluate(plan(tmp_path, "none,dycoke,no-video", dataset=broken))
    items = Samples().items("test", 2)
    lost = [item for item in items if item.video == clips[1]]
    assert len(answers(tmp_path)) == 3 * len(items) - 2 * len(lost)
    for row in report.rows:
        # Without video there is nothing that can't be read.
        assert row.failed == (0 if row.spec == "no-video" else len(lost))
        assert (row.questions, row.unparsable) == (len(items), 0)
        right = sum(group.accuracy * group.questions for group in row.by_type.values())
        assert row.accuracy == pytest.approx(right / len(items))
        kinds = Counter(item.kind for item in items)
        assert {kind: group.questions for kind, group in row.by_type.items()} == kinds
        # Neither do measures of their own lose them.
        assert row.by_part["told"].questions == kinds["description"]
    assert report.rows[0].kept_before_llm == 1
    assert report.rows[0].seconds > 0
    assert [(one.spec, one.item, one.reason) for one in report.unscored] == [
        (spec, item.id, "failed") for spec in ("none", "dycoke") for item in lost
    ]
    assert "no.mp4 doesn't exist" in report.unscored[0].text
    # They aren't answered: with the video there, they are asked.
    whole = evaluate(plan(tmp_path, "none,dycoke,no-video"))
    assert len(answers(tmp_path)) == 3 * len(items)
    assert (whole.unscored, [row.failed for row in whole.rows]) == ((), [0, 0, 0])


@pytest.mark.usefixtures("known_answers")
def test_nothing_but_videos_that_cannot_be_read(tmp_path: Path) -> None:
    (clip,) = dict.fromkeys(item.video for item in Samples().items("test", 1))
    with pytest.raises(VideoError, match=r"no\.mp4 doesn't exist"):
        evaluate(plan(tmp_path, "none", limit_videos=1, dataset=Samples(broken=clip)))
    assert answers(tmp_path) == []


def test_a_benchmark_without_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Samples, "items", lambda *_: [])
    with pytest.raises(UsageError, match="samples has no questions in its test split"):
        evaluate(plan(tmp_path))


def test_the_model_is_loaded_as_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []

    def load(name: str, **how: object) -> None:
        seen.append(how)
        raise ModelError("there is no room")

    monkeypatch.setattr(loading, "load", load)
    half = LoadOptions(device="cpu", dtype="bfloat16")
    with pytest.raises(ModelError, match="no room"):
        evaluate(plan(tmp_path, "none", split="validation", request=replace(CPU, loading=half)))
    (how,) = seen
    assert {name: how[name] for name in asdict(half)} == asdict(half)


def test_a_large_run_on_a_cpu_shares_the_cores_and_a_small_one_does_not() -> None:
    mini = resolve_model("mini", LoadOptions(device="cpu"))
    assert eval_run._suitable_workers(mini, cores=4, missing=10) == 1
    assert eval_run._suitable_workers(mini, cores=4, missing=10_000) == 4
    assert eval_run._suitable_workers(replace(mini, device=torch.device("cuda")), 4, 10_000) == 1


def test_a_quota_of_cpus_limits_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch counts the CPUs of the machine, and knows nothing of a container's share of them."""
    mini = resolve_model("mini", LoadOptions(device="cpu"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for cpus in (3, 100):
        monkeypatch.setattr(eval_run, "usable_cpus", lambda cpus=cpus: cpus)
        chosen = eval_run._plan(plan(tmp_path, "none"), mini, missing=100_000, groups=10)
        assert chosen.workers == min(cpus, 10)


def test_workers_that_do_not_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = resolve_model("mini", LoadOptions(device="cpu"))
    needed = eval_run.needed_bytes(mini)
    assert needed is not None
    monkeypatch.setattr(eval_run, "free_memory", lambda device: 2 * needed + 1)
    assert eval_run._suitable_workers(mini, cores=4, missing=10_000) == 2
    monkeypatch.setattr(eval_run, "free_memory", lambda device: 2 * needed - 1)
    with pytest.raises(OutOfMemoryError, match=r"mini in 2 processes needs .*use fewer --workers"):
        evaluate(plan(tmp_path, "none", workers=2))


class Interrupted(Prepared):
    """Ctrl-C is pressed after five answers."""

    def advance(self) -> None:
        super().advance()
        if len(self.asked) == 5:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupt_is_one_word_and_keeps_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", Interrupted())
    monkeypatch.setitem(DATASETS, "samples", WHERE)
    run = run_here("eval", "samples", "--limit", "2", "--out", tmp_path, "--json")
    assert (run.code, run.object["error"]["code"]) == (130, "interrupted")
    assert run.err.splitlines()[-2:] == [
        "Answers so far are kept; the same command resumes.",
        "Interrupted",
    ]
    assert len(answers(tmp_path)) == 5
    assert (tmp_path / FILE).read_text().endswith("}\n")
