"""Report of finished runs: of one run, of several, of the shards of one, or of logs of lmms-eval.

Runs may have different models. A row is then identified by model and method, and compared with the
baseline of its model.

A log of lmms-eval (`--log_samples`), `DATE_samples_TASK.jsonl`, has an object per question: its
number (`doc_id`), the reference (`target`), the answer (`filtered_resps`), and under other keys
what each metric made of it. The first log is the baseline of the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dycoke_cli.compression.registry import Spec
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import ACCURACY, Item
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.evaluation.report.evaluation_report import EvalReport, make_report
from dycoke_cli.evaluation.run_record import RunRecord, StoredRun, read_folder
from dycoke_cli.storage.input_file import read_lines
from dycoke_cli.unicode import display_name

RULE = "lmms-eval"
_NO_METRIC = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_counts", "input"),
    *("doc_hash", "prompt_hash", "target_hash", "input_media"),
}
_SAID = ("pred_answer", "parsed_pred", "pred")
_CORRECT = ("answer", "gt_answer", "ground_truth", "answer_id")
_VIDEO = ("videoID", "video_id", "video_name", "video_path", "video_uid", "video_idx", "video")
_KIND = ("task_category", "task_type", "question_type", "question_category", "type")


def is_log(path: Path) -> bool:
    """Whether a file is a sample log."""
    try:
        first = json.loads(next(read_lines(path), b""))
        return isinstance(first, dict) and {"doc_id", "target", "filtered_resps"} <= first.keys()
    except (OSError, ValueError, RecursionError):
        return False


def read_logs(paths: Sequence[Path]) -> list[StoredRun]:
    """Read logs; the first is the baseline."""
    names = _names(paths)
    runs = [_read_log(path, names[n], baseline=not n) for n, path in enumerate(paths)]
    for run in runs[1:]:
        correct = {item.id: item.answer for item in run.record.items}
        for item in runs[0].record.items:
            if correct.get(item.id, item.answer) != item.answer:
                raise UsageError(
                    f"{runs[0].shown} and {run.shown} aren't about the same questions: question "
                    f"{item.id} has another reference"
                )
    return runs


def _names(paths: Sequence[Path]) -> list[str]:
    """What tells the logs apart: the first part of their paths that all have for themselves."""
    for parts in zip(*(path.absolute().parts for path in paths), strict=False):
        if len({*parts}) == len(paths) > 1:
            return [display_name(part.removesuffix(".jsonl")) for part in parts]
    return [display_name(path) for path in paths]


def _read_log(path: Path, name: str, *, baseline: bool) -> StoredRun:
    samples = _samples(path)
    metric, scores = _scores(path, list(samples.values()))
    binary = {*scores} <= {0.0, 1.0}
    videos = {number: _named(sample, _VIDEO) for number, sample in samples.items()}
    items = tuple(
        Item(number, videos[number] or number, "", str(sample["target"]), _named(sample, _KIND), "")
        for number, sample in samples.items()
    )
    setup = Setup(
        version="",
        benchmark=path.stem.partition("_samples_")[2] or path.stem,
        edition="",
        split="test",
        model={"name": RULE, "revision": None, "weights": None, "dtype": None, "device": None},
        method={"log": name},
        frames=None,
        max_new_tokens=0,
    )
    spec = Spec(name, "none" if baseline else name, "none", {})
    unknown = sum(not video for video in videos.values())
    record = RunRecord(
        rows=(KeptRow(spec, {}, setup),),
        items=items,
        places=tuple(range(len(items))),
        frames=None,
        conditions={"scoring": {"metric": metric}},
        metric=ACCURACY if binary else metric,
        macro=False,
        warnings=(
            f"{unknown} of {len(items)} questions don't name their video, so each counts as one: "
            "of questions about one video the errors are too small",
        )
        if unknown
        else (),
        rule=RULE,
        final=True,
    )
    answers = {
        number: _prediction(number, sample, score, binary)
        for (number, sample), score in zip(samples.items(), scores, strict=True)
    }
    return StoredRun(path, record, {setup.id: answers})


def _prediction(number: str, sample: Mapping[str, Any], score: float, binary: bool) -> Prediction:
    said = sample["filtered_resps"]
    return Prediction(
        item=number,
        said=said if isinstance(said, str) else json.dumps(said, ensure_ascii=False),
        right=score == 1,
        parts={},
        visual=None,
        visual_kept=None,
        visual_active=None,
        generated=None,
        seconds=None,
        bytes=None,
        value=None if binary else score,
    )


def _samples(path: Path) -> dict[str, dict[str, Any]]:
    """The samples of a log by their number."""
    samples: dict[str, dict[str, Any]] = {}
    for line, content in enumerate(read_lines(path), 1):
        try:
            sample = json.loads(content)
            number = str(sample["doc_id"])
            sample["target"], sample["filtered_resps"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{display_name(path)}, line {line}: that isn't a sample of lmms-eval; log again "
                "with --log_samples"
            ) from error
        if samples.setdefault(number, sample) != sample:
            raise UsageError(
                f"{display_name(path)}, line {line}: question {number} has two answers; name a "
                "log of one run"
            )
    return samples


def _scores(path: Path, samples: Sequence[Mapping[str, Any]]) -> tuple[str, list[float]]:
    """The first metric that scores every sample from 0 to 1, with its scores."""
    metrics = [name for name in samples[0] if name not in _NO_METRIC]
    for metric in metrics:
        scores = [_score(sample.get(metric)) for sample in samples]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            return metric, known
    raise UsageError(
        f"{display_name(path)} has no metric that scores each answer from 0 to 1, but "
        f"{', '.join(map(display_name, metrics)) or 'none at all'}: name the log of another task"
    )


def _score(value: Any) -> float | None:
    if isinstance(value, Mapping):
        if "score" in value:
            return _score(value["score"])
        said, correct = (
            next((value[key] for key in keys if key in value), None) for keys in (_SAID, _CORRECT)
        )
        if said is None or correct is None:
            return None
        return float(str(said).strip().lower() == str(correct).strip().lower())
    return float(value) if isinstance(value, (bool, int, float)) and 0 <= value <= 1 else None


def _named(sample: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first of these keys of a metric or the document; empty without one."""
    places = [value for value in sample.values() if isinstance(value, Mapping)]
    return next(
        (str(place[key]) for key in keys for place in places if place.get(key) is not None), ""
    )


def report_of(sources: Sequence[Path], rule: str | None = None) -> EvalReport:
    """Build the report of one or several runs from their folders.

    Args:
        sources: folders of `dycoke eval --out`, and sample logs of lmms-eval; at least one.
        rule: scoring rule; None for that of the runs.
    """
    runs = _read(list(dict.fromkeys(sources)))
    for number, run in enumerate(runs):
        for earlier in runs[:number]:
            _check_alike(earlier, run)
    rows = _rows(runs)
    record, left_out = _record(runs, rows)
    record = replace(record, rule=_rule(runs, rule))
    answers, differing = _answers(runs, record.asked_rows)
    warnings = dict.fromkeys(sentence for run in runs for sentence in run.record.warnings)
    return make_report(
        record,
        answers,
        {
            one
            for run in runs
            for row in record.asked_rows
            for one in run.commits.get(row.setup.id, ())
        },
        ", ".join(str(run.journal) for run in runs),
        [*warnings, *_damages(runs), *left_out, *differing, *_versions(runs)],
        {k: v for run in runs for k, v in run.verdicts.items() if record.judge},
    )


def _rule(runs: list[StoredRun], chosen: str | None) -> str:
    rules = dict.fromkeys(run.record.rule for run in runs)
    if final := [run for run in runs if run.record.final and chosen not in (None, *rules)]:
        raise UsageError(f"{final[0].shown} can't be scored again: leave out --rule")
    if chosen is not None:
        return chosen
    if len(rules) > 1:
        raise UsageError(f"the runs were scored by {' and '.join(rules)}: choose one with --rule")
    return next(iter(rules))


def _versions(runs: list[StoredRun]) -> Iterator[str]:
    """Warnings about packages whose versions differ between the runs."""
    for name in dict.fromkeys(name for run in runs for name in run.record.versions):
        used = dict.fromkeys(run.record.versions.get(name, "unknown") for run in runs)
        if len(used) > 1 and name != "processor":
            yield f"the runs had several versions of {name}: {', '.join(used)}"


def _read(sources: Sequence[Path]) -> list[StoredRun]:
    """Read each source as what it is."""
    logs = [path for path in sources if is_log(path)]
    read = dict(zip(logs, read_logs(logs), strict=True))
    return [read.get(path) or read_folder(path) for path in sources]


def _facts(record: RunRecord) -> dict[str, Any]:
    """Conditions that all rows of a report must share."""
    setup = record.rows[0].setup
    return {
        **{name: value for group in record.conditions.values() for name, value in group.items()},
        "benchmark": setup.benchmark,
        "version of the benchmark": setup.edition,
        "split": setup.split,
        "max_new_tokens": setup.max_new_tokens,
    }


def _check_alike(first: StoredRun, other: StoredRun) -> None:
    """Check that two runs can be in one report."""
    ours, theirs = _facts(first.record), _facts(other.record)
    models = [run.record.rows[0].setup.model for run in (first, other)]
    # Rows show the model's name only: runs of one model must agree in revision, dtype and so on.
    if models[0]["name"] == models[1]["name"]:
        ours, theirs = ours | models[0], theirs | models[1]
    for name, value in ours.items():
        if name in theirs and theirs[name] != value:
            raise UsageError(
                f"{first.shown} and {other.shown} can't be in one report: they differ in "
                f"{name.replace('_', ' ')} ({value} and {theirs[name]})"
            )


def _rows(runs: list[StoredRun]) -> list[KeptRow]:
    """Rows of all runs without duplicates, grouped by model, in order of first appearance."""
    rows: dict[tuple[str, str], tuple[StoredRun, KeptRow]] = {}
    for run in runs:
        for row in run.record.rows:
            first_run, first = rows.setdefault((row.model, row.spec.text), (run, row))
            if first.setup.id != row.setup.id:
                raise UsageError(
                    f"{first_run.shown} and {run.shown} can't be in one report: their answers "
                    f"under {row.spec.text} were made with different settings"
                    f"{_different(first, row)}"
                )
            if row.preset and not first.preset:  # this one has published figures
                rows[row.model, row.spec.text] = (first_run, row)
    models = list(dict.fromkeys(model for model, _ in rows))
    # The sort is stable: within a model the order stays.
    return sorted((row for _, row in rows.values()), key=lambda row: models.index(row.model))


def _different(one: KeptRow, other: KeptRow) -> str:
    pairs = [
        {**row.setup.method, **row.parameters, "frames": row.setup.frames, **row.setup.options}
        for row in (one, other)
    ]
    for name in {**pairs[0], **pairs[1]}:
        values = [pair.get(name, "none") for pair in pairs]
        if values[0] != values[1]:
            return f" ({name} {values[0]} and {values[1]})"
    return ""


def _record(runs: list[StoredRun], rows: list[KeptRow]) -> tuple[RunRecord, list[str]]:
    """Merge the records, restricted to questions that all rows have; warn if some don't."""
    items: dict[str, tuple[int, Item]] = {}
    asked: dict[str, set[str]] = {row.setup.id: set() for row in rows}
    for run in runs:
        record = run.record
        placed = zip(record.places, record.items, strict=True)
        items |= {item.id: (place, item) for place, item in placed}
        for row in record.rows:
            asked[row.setup.id] |= {item.id for item in record.items}
    common = set.intersection(*asked.values())
    if not common:
        raise UsageError(
            f"{' and '.join(run.shown for run in runs)} can't be in one report: there is no "
            "question that all of their methods were asked"
        )
    ordered = sorted(items.values(), key=lambda placed: placed[0])
    kept = [(place, item) for place, item in ordered if item.id in common]
    others = len(items) - len(kept)
    warnings = [
        f"{others} of {len(items)} questions are skipped, for not all methods were asked them"
    ]
    parts = {run.record.shards for run in runs}
    # With a run of all questions among them, no shard is missing.
    shards = () if () in parts else tuple(sorted({one for part in parts for one in part}))
    judges = {judge: run for run in runs if (judge := run.record.judge) is not None}
    if len(judges) > 1:
        raise UsageError(
            f"{' and '.join(run.shown for run in judges.values())} can't be in one report: they "
            f"were graded by different judges ({' and '.join(judges)})"
        )
    return replace(
        runs[0].record,
        judge=next(iter(judges), None),
        by_probability=all(run.record.by_probability for run in runs),
        rows=tuple(rows),
        items=tuple(item for _, item in kept),
        places=tuple(place for place, _ in kept),
        shards=shards,
    ), warnings if others else []


def _answers(
    runs: list[StoredRun], rows: list[KeptRow]
) -> tuple[Mapping[str, Mapping[str, Prediction]], list[str]]:
    """Answers by setup and question, the newest of each; and warnings about differing ones."""
    answers: dict[str, dict[str, Prediction]] = {}
    source: dict[tuple[str, str], StoredRun] = {}
    differing: dict[tuple[str, str], int] = {}
    for run in sorted(runs, key=lambda run: run.record.date):
        for setup in {row.setup.id: row.setup for row in rows}.values():
            of_setup = answers.setdefault(setup.id, {})
            # A failure never replaces an answer of an earlier run.
            for name, failure in run.record.failures.get(setup.id, {}).items():
                of_setup.setdefault(name, failure)
            for name, answer in run.predictions(setup).items():
                before = source.get((setup.id, name))
                if before is not None and of_setup[name].said != answer.said:
                    pair = (before.shown, run.shown)
                    differing[pair] = differing.get(pair, 0) + 1
                of_setup[name], source[setup.id, name] = answer, run
    return answers, [
        f"{count} {'answer differs' if count == 1 else 'answers differ'} between {older} and "
        f"{newer} under the same settings; those of {newer}, the newer run, are taken"
        for (older, newer), count in differing.items()
    ]


def _damages(runs: list[StoredRun]) -> Iterator[str]:
    for run in runs:
        if run.damaged:
            yield (
                f"{run.journal} has {run.damaged} damaged line(s), which are left "
                "out: run the same `dycoke eval` again, which asks those questions"
            )
