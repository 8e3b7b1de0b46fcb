"""Sample logs of lmms-eval (`--log_samples`) as runs, so that a report compares them.

A log, `DATE_samples_TASK.jsonl`, has an object per question: its number (`doc_id`), the reference
(`target`), the answer (`filtered_resps`), and under other keys what each metric made of it. The
first log is the baseline of the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycoke_cli.compression.registry import Spec
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import ACCURACY, Item
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.evaluation.run_record import RunRecord, StoredRun
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
    runs = [_read(path, names[n], baseline=not n) for n, path in enumerate(paths)]
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


def _read(path: Path, name: str, *, baseline: bool) -> StoredRun:
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
