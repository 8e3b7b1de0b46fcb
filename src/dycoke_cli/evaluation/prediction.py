"""What a model said to one question, and under which conditions it was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import ABSENT, Absent, Doc
from dycoke_cli.evaluation.dataset import Dataset, Item, Rule, Split
from dycoke_cli.runs.outcome import Outcome


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
    """All that an answer depends on beside its question; two of a kind give the same answers.

    Args:
        version: of this package; not in the id, for a release that answers as the one before it
            needn't ask again (the journal names the commit of each answer, the report warns where
            rows were made by several).
        benchmark: its name.
        edition: of the benchmark.
        split: of the benchmark.
        model: see `EvaluatedModel`.
        method: name and parameters, as `param.key_part` has them.
        frames: how many the model sees; 0 is no video at all, None is for `options` to say.
        max_new_tokens: answers are cut there.
        options: all else of frames and generation, likewise.
    """

    version: str
    benchmark: str
    edition: str
    split: Split
    model: dict[str, Any]
    method: dict[str, Any]
    frames: int | None
    max_new_tokens: int = 128
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property  # asked for once a row and question
    def id(self) -> str:
        """Short, and another one for each other setup."""
        about = asdict(self)
        del about["version"]
        content = json.dumps(about, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Prediction:
    """One answer, scored.

    Args:
        item: id of the question.
        said: the answer.
        right: whether it counts as right.
        parts: see `dataset.Score`.
        visual: visual tokens before any choice. These, and what else is counted, are None where a
            server answered that doesn't tell.
        visual_kept: of those, read by the language model; of a guard, by all budgets that it tried.
        visual_active: of those, attended to by a decoding step in the pruned layers (mean over
            steps).
        generated: tokens written, with the end token.
        seconds: to answer, once the video is encoded.
        bytes: of keys and values held at the end.
        visual_read: visual tokens that a decoding step attended to, mean over steps and layers;
            None where that wasn't counted; of a guard as `visual_kept`.
        seconds_prefill: of `seconds`, to the first token, the selection included; None without an
            answer.
        seconds_decode: of `seconds`, from the first token to the last; None as above.
        parsed: see `dataset.Score`.
        value: likewise.
        counted: likewise.
        error: why there is no answer; such a prediction is wrong, and in no journal.
        refused: whether the question wasn't put to the model; such a prediction isn't scored, and
            its figures say nothing.
        path: visual tokens read at prefill by each budget that a guard tried; empty without one.
    """

    item: str
    said: str
    right: bool
    parts: dict[str, float]
    visual: int | None
    visual_kept: int | None
    visual_active: float | None
    generated: int | None
    seconds: float
    bytes: int | None
    visual_read: float | None = None
    seconds_prefill: float | None = None
    seconds_decode: float | None = None
    parsed: bool = True
    value: float | None = None
    counted: bool = True
    error: str | None = None
    refused: bool = False
    path: tuple[int, ...] = ()

    @property
    def score(self) -> float:
        """From 0 to 1, by the metric of the benchmark."""
        return float(self.right) if self.value is None else self.value


def scored(dataset: Dataset, item: Item, outcome: Outcome) -> Prediction:
    """What an answer to a question amounts to.

    Args:
        dataset: which scores.
        item: the question.
        outcome: an answer, not an error.
    """
    line = outcome.line
    if outcome.refused:
        return replace(no_answer(item, ()), said=line["answer"], refused=True)
    score, tokens = dataset.score(item, line["answer"]), line["tokens"]
    path = line["guard"]["path"] if "guard" in line else ()
    steps = path or [tokens]
    seconds, held = line["seconds"], line["bytes"]

    def over_all(key: str) -> Any:
        values = [step[key] for step in steps]
        return None if None in values else sum(values)

    def own(stage: str) -> float | None:
        return None if seconds[stage] is None else seconds[stage] / outcome.together

    return Prediction(
        item=item.id,
        said=line["answer"],
        right=score.right,
        parts=dict(score.parts),
        visual=tokens["visual"],
        visual_kept=over_all("visual_kept"),
        visual_active=tokens["visual_active_in_decode"],
        generated=tokens["generated"],
        seconds=outcome.seconds,
        bytes=None if held is None else held["kv_cache"],
        visual_read=over_all("visual_read_per_step"),
        seconds_prefill=own("prefill"),
        seconds_decode=own("decode"),
        parsed=score.parsed,
        value=score.value,
        counted=score.counted,
        path=tuple(step["visual_kept"] for step in path),
    )


def rescored(
    rule: Rule, items: Iterable[Item], said: Mapping[str, Prediction]
) -> dict[str, Prediction]:
    """Answers as a rule scores them; how they were scored when they came doesn't matter.

    Args:
        rule: which scores.
        items: the questions.
        said: their answers, by question; some may have none.
    """
    return {item.id: _by(rule, item, said[item.id]) for item in items if item.id in said}


def _by(rule: Rule, item: Item, prediction: Prediction) -> Prediction:
    if prediction.error is not None:
        return no_answer(item, rule(item, "").parts, prediction.error)
    return replace(prediction, **vars(rule(item, prediction.said)))


def unanswered(dataset: Dataset, item: Item, error: str) -> Prediction:
    """A question that has no answer: it scores as an empty one, and is wrong.

    Args:
        dataset: which scores.
        item: the question.
        error: why, as a sentence.
    """
    return no_answer(item, dataset.score(item, "").parts, error)


def no_answer(item: Item, parts: Iterable[str], error: str | None = None) -> Prediction:
    """A question that the model gave no answer to, and is wrong.

    Args:
        item: the question.
        parts: measures that its kind has.
        error: why, as a sentence.
    """
    return Prediction(
        item.id, "", False, dict.fromkeys(parts, 0.0), 0, 0, 0.0, 0, 0.0, 0, error=error
    )
