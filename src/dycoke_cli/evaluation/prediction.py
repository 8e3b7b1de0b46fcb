"""Scored answers, the setup that identifies their conditions, and the journal that keeps them.

One JSON object per line and answer, so that a run can resume. A line that begins with
`{"setup": …, "about": …}` defines a setup; all others are answers. Each line has a checksum: lines
damaged by a crash, a full disk or an editor are dropped, and those questions are run again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import ABSENT, Absent, Doc, from_dict, keys, to_dict
from dycoke_cli.evaluation.dataset import Dataset, Item, Rule, Split
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.journal import Journal, open_journal


@dataclass(frozen=True)
class EvaluatedModel:
    """The model that was asked."""

    name: str
    revision: str | None
    weights: Annotated[str | None, Doc("A fingerprint; this and the next are null on a server.")]
    dtype: str | None
    device: str | None
    plugin: Annotated[str | Absent, Doc("That its family comes from.")] = ABSENT


@dataclass(frozen=True)
class Setup:
    """Conditions of an answer; equal setups give equal answers to a question."""

    # of this package. Not part of the id: a release that changes no answer can reuse them. The
    # journal names the commit of each answer, and the report warns about a mix.
    version: str
    benchmark: str  # name of the benchmark
    edition: str  # version of the benchmark's data
    split: Split  # of the benchmark
    model: dict[str, Any]  # fields of `EvaluatedModel`
    method: dict[str, Any]  # name and parameters, from `param.key_part`
    frames: int | None  # number of frames; 0 for no video, None if `options` determine it
    max_tokens: int = 128  # limit of an answer's length
    # other options of sampling and generation, from `param.key_part`
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property  # used once per row and question
    def id(self) -> str:
        """Hash of the setup without `version`."""
        about = asdict(self)
        del about["version"]
        content = json.dumps(about, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Prediction:
    """Scored answer."""

    item: str  # id of the question
    said: str  # the answer
    right: bool  # whether it is correct
    parts: dict[str, float]  # see `dataset.Score`
    # visual tokens before compression. All counts are None if a server doesn't report them.
    visual: int | None
    visual_kept: int | None  # visual tokens at prefill
    # visual tokens attended per decoding step in the pruned layers (mean over steps)
    visual_active: float | None
    generated: int | None  # generated tokens, including the end token
    seconds: float | None  # time to answer, without encoding the video; None if a log has none
    bytes: int | None  # size of the KV cache at the end
    # visual tokens attended per decoding step, mean over steps and layers; None if not counted
    visual_read: float | None = None
    # part of `seconds` up to the first token, including the selection; None without an answer
    seconds_prefill: float | None = None
    # part of `seconds` from the first token to the last; None without an answer
    seconds_decode: float | None = None
    parsed: bool = True  # see `dataset.Score`
    value: float | None = None  # see `dataset.Score`
    # why there is no answer; such a prediction is incorrect, and isn't in the journal
    error: str | None = None
    # of the language model by the paper's formula, prefill and decode; None of answers of earlier
    # releases and of a server
    flops: float | None = None
    warnings: tuple[str, ...] = ()  # of the answer; empty for answers of earlier releases

    @property
    def score(self) -> float:
        """Score from 0 to 1 by the benchmark's metric."""
        return float(self.right) if self.value is None else self.value


def scored(dataset: Dataset, item: Item, outcome: Outcome) -> Prediction:
    """Score an answer."""
    line = outcome.line
    score, tokens = dataset.score(item, line["answer"]), line["tokens"]
    seconds, memory, flops = line["seconds"], line["bytes"], line["flops"]

    def share_of_batch(stage: str) -> float | None:
        # Stages are timed for the whole batch.
        return None if seconds[stage] is None else seconds[stage] / outcome.together

    return Prediction(
        item=item.id,
        said=line["answer"],
        right=score.right,
        parts=dict(score.parts),
        visual=tokens["visual"],
        visual_kept=tokens["visual_kept"],
        visual_active=tokens["visual_active_in_decode"],
        generated=tokens["generated"],
        seconds=outcome.seconds,
        bytes=None if memory is None else memory["kv_cache"],
        visual_read=tokens["visual_read_per_step"],
        seconds_prefill=share_of_batch("prefill"),
        seconds_decode=share_of_batch("decode"),
        parsed=score.parsed,
        value=score.value,
        flops=None if flops is None else flops["prefill"] + flops["decode"],
        warnings=tuple(line["warnings"]),
    )


def rescored(
    rule: Rule, items: Iterable[Item], predictions: Mapping[str, Prediction]
) -> dict[str, Prediction]:
    """Score answers again by a rule."""
    return {
        item.id: _rescored(rule, item, predictions[item.id])
        for item in items
        if item.id in predictions
    }


def _rescored(rule: Rule, item: Item, prediction: Prediction) -> Prediction:
    if prediction.error is not None:
        return no_answer(item, rule(item, "").parts, prediction.error)
    return replace(prediction, **vars(rule(item, prediction.said)))


def unanswered(dataset: Dataset, item: Item, error: str) -> Prediction:
    """Prediction of a failed question: incorrect, with the parts of an empty answer."""
    return no_answer(item, dataset.score(item, "").parts, error)


def no_answer(item: Item, parts: Iterable[str], error: str | None = None) -> Prediction:
    """Prediction of a question without an answer: incorrect."""
    return Prediction(
        item.id, "", False, dict.fromkeys(parts, 0.0), 0, 0, 0.0, 0, 0.0, 0, error=error
    )


FILE = "answers.jsonl"


class Answers(Journal):
    """Answers of an evaluation, by setup and question.

    Attributes:
        setups: setups in the file, by their id there.
    """

    what = "a journal of dycoke eval"
    begin = b'{"setup": "'

    def __init__(self, path: Path) -> None:
        self.setups: dict[str, Setup] = {}
        self._predictions: dict[str, dict[str, Prediction]] = {}
        self._commits: dict[str, set[str]] = {}
        super().__init__(path)

    def predictions(self, setup: Setup) -> dict[str, Prediction]:
        """Answers of a setup so far, by question."""
        return self._predictions.get(setup.id, {})

    def commits(self, setups: Iterable[Setup]) -> set[str]:
        """Commits of this program that produced the answers of these setups, where known."""
        return {commit for setup in setups for commit in self._commits.get(setup.id, ())}

    def add(self, setup: Setup, prediction: Prediction, commit: str | None) -> None:
        """Append an answer; it survives a crash of the process once this returns."""
        lines: list[dict[str, Any]] = []
        if setup.id not in self.setups:
            lines.append({"setup": setup.id, "about": asdict(setup)})
        lines.append({"setup": setup.id, "commit": commit, **to_dict(prediction)})
        checked = (json.dumps({**line, "check": _check(line)}) + "\n" for line in lines)
        self.write("".join(checked).encode("ascii"))
        for line in lines:
            self._note(line)

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        self._note(_verified(line))

    def _note(self, line: dict[str, Any]) -> None:
        if "about" in line:
            self.setups[line["setup"]] = from_dict(Setup, _fields_of(line["about"], Setup))
            return
        setup = line["setup"]
        # An older file's id lacks fields that `Setup` got since then, so it is computed again.
        if setup in self.setups:
            setup = self.setups[setup].id
        prediction = from_dict(Prediction, _fields_of(line, Prediction))
        self._predictions.setdefault(setup, {})[prediction.item] = prediction
        if line["commit"] is not None:
            self._commits.setdefault(setup, set()).add(str(line["commit"]))


def _fields_of(line: dict[str, Any], kind: type) -> dict[str, Any]:
    """Fields of a line that a dataclass has; a missing one, added later, gets its default."""
    return {name: value for name, value in line.items() if name in keys(kind)}


def open_answers(folder: Path) -> AbstractContextManager[Answers]:
    """Open and lock the journal in a folder, which is created if it is missing."""
    return open_journal(Answers, folder / FILE)


def _verified(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or content.pop("check") != _check(content):
        raise ValueError("not a line of a journal, or no longer what was written")
    return content


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
