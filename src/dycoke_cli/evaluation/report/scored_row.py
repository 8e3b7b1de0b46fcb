"""Row of the results table: scores, retention and cost of a method, and what changed by it.

Multiple choice by the options' probabilities stands beside the generated letters. Source of the
expected calibration error (ECE): Naeini et al., "Obtaining Well Calibrated Probabilities Using
Bayesian Binning" (AAAI 2015), with bins of equal width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from statistics import fmean
from typing import Annotated, Any, Literal

from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.evaluation.dataset import ACCURACY, Item
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction
from dycoke_cli.evaluation.presets import PublishedRecord
from dycoke_cli.evaluation.scoring.rules import chosen
from dycoke_cli.evaluation.scoring.statistics import (
    Accuracy,
    AmountOrNull,
    PartMean,
    Predictions,
    Share,
    ShareOrNull,
    clustered_mean,
    detectable,
    grouped,
    holm,
    mcnemar,
    mean_of,
    mean_or_none,
    plus_minus,
    retention,
)

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability."""

    answers: Annotated[int, Doc(minimum=1)]
    probability: Annotated[Share, Doc("Mean probability of the chosen option.")]
    accuracy: Annotated[Share, Doc("Share that is correct.")]


def bins_of(probabilities: Sequence[float], correct: Sequence[bool]) -> tuple[Bin, ...]:
    """Answers in `BINS` intervals of equal width, those that are empty left out.

    Args:
        probabilities: of the chosen options, from 0 to 1.
    """
    members: dict[int, list[tuple[float, bool]]] = {}
    for probability, right in zip(probabilities, correct, strict=True):
        # An interval has its upper end; the first one has 0 as well.
        number = max(math.ceil(probability * BINS), 1)
        members.setdefault(number, []).append((probability, right))
    return tuple(
        Bin(len(group), fmean(p for p, _ in group), fmean(right for _, right in group))
        for _, group in sorted(members.items())
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of probability and accuracy, over answers.

    Args:
        bins: at least one.
    """
    answers = sum(one.answers for one in bins)
    return math.fsum(one.answers * abs(one.probability - one.accuracy) for one in bins) / answers


_Error = Annotated[float | None, Doc("Clustered by video; null of fewer than two.", minimum=0)]
_PlusMinus = Annotated[
    float | None, Doc("What tables show behind ±, as plus_minus of a row.", minimum=0)
]


@dataclass(frozen=True)
class ProbabilityRow:
    """Both ways of answering the multiple-choice questions of a row: the value of `probability`."""

    questions: Annotated[int, Doc("Of multiple choice, answered both ways.", minimum=1)]
    generated_accuracy: Annotated[Share, Doc("Of the letters in generated answers.")]
    generated_error: _Error
    accuracy: Annotated[Share, Doc("Of the likeliest letters.")]
    standard_error: _Error
    generated_plus_minus: _PlusMinus
    plus_minus: _PlusMinus
    agree: Annotated[Share, Doc("Share of questions that get the same letter both ways.")]
    confidence: Annotated[Share, Doc("Mean probability of the likeliest letter.")]
    calibration_error: Annotated[
        Share, Doc("Expected calibration error of these probabilities, in ten bins.")
    ]
    mass: Annotated[Share, Doc("Mean probability of all letters among all first tokens.")]
    bins: Annotated[tuple[Bin, ...], Doc("In ascending order of probability.", minItems=1)]


def probability_row(
    items: Sequence[Item], generated: Predictions, by_probability: Predictions
) -> ProbabilityRow | None:
    """Compare both ways on the questions that were answered both ways; None without any."""
    both = [
        (item, generated[item.id], choice)
        for item in items
        if (choice := by_probability.get(item.id)) is not None
        and choice.probabilities
        and generated[item.id].error is None
    ]
    if not both:
        return None
    videos = [item.video for item, _, _ in both]
    confidences = [_confidence(choice) for _, _, choice in both]
    bins = bins_of(confidences, [choice.right for _, _, choice in both])
    letters = clustered_mean([float(answer.right) for _, answer, _ in both], videos)
    likeliest = clustered_mean([float(choice.right) for _, _, choice in both], videos)
    assert letters[0] is not None
    assert likeliest[0] is not None
    return ProbabilityRow(
        questions=len(both),
        generated_accuracy=letters[0],
        generated_error=letters[1],
        accuracy=likeliest[0],
        standard_error=likeliest[1],
        generated_plus_minus=plus_minus(letters[1], len({*videos})),
        plus_minus=plus_minus(likeliest[1], len({*videos})),
        agree=fmean(chosen(answer.said, item.options) == c.said for item, answer, c in both),
        confidence=fmean(confidences),
        calibration_error=calibration_error(bins),
        mass=fmean(choice.mass or 0.0 for _, _, choice in both),
        bins=bins,
    )


def _confidence(choice: Prediction) -> float:
    assert choice.probabilities is not None
    return min(max(choice.probabilities.values()), 1.0)  # a sum may round to above 1


Verdict = Literal["fixed", "broken", "still right", "still wrong", "graded"]


@dataclass(frozen=True)
class Change:
    """An answer that compression changed: an entry of `changes`."""

    model: Annotated[str, Doc("Of the row.")]
    spec: Annotated[str, Doc("Of the row.")]
    video: str
    item: Annotated[str, Doc("Id of the question.")]
    kind: Annotated[str, Doc("Of the question.")]
    question: Annotated[str, Doc("As it was asked.")]
    answer: Annotated[str, Doc("The correct one.")]
    uncompressed: Annotated[str, Doc("The baseline's answer.")]
    said: Annotated[str, Doc("The answer under the method.")]
    outcome: Annotated[
        Verdict,
        Doc("fixed: wrong to right; broken: right to wrong; graded: neither right nor wrong."),
    ]


def list_changes(
    model: str, spec: str, items: list[Item], predictions: Predictions, uncompressed: Predictions
) -> list[Change]:
    """List the answers of a row that differ from the baseline's."""
    return [
        Change(
            model=model,
            spec=spec,
            video=item.video,
            item=item.id,
            kind=item.kind,
            question=item.question,
            answer=item.answer,
            uncompressed=uncompressed[item.id].said,
            said=predictions[item.id].said,
            outcome=_outcome(uncompressed[item.id], predictions[item.id]),
        )
        for item in items
        if predictions[item.id].said != uncompressed[item.id].said
    ]


def _outcome(before: Prediction, after: Prediction) -> Verdict:
    if before.value is not None or after.value is not None:
        return "graded"
    if before.right == after.right:
        return "still right" if after.right else "still wrong"
    return "fixed" if after.right else "broken"


@dataclass(frozen=True)
class Grades:
    """Grades of a row, over all of its questions."""

    accuracy: float | None  # share of correct answers; None if the prompt asks for a score only
    score: float  # mean score, from 0 to 5
    failed: int  # failed verdicts, which count as incorrect with score 0


CountOrNull = Annotated[int | None, Doc(minimum=0)]


@dataclass(frozen=True)
class _Asked:
    method: Annotated[str, Doc("Name of the method or ablation.")]
    spec: Annotated[str, Doc("As it was given to --methods.")]
    model: Annotated[str, Doc("Its name: of that which answered.")]
    parameters: Annotated[dict[str, Any], Doc("All of the method's.")]
    frames: Annotated[
        CountOrNull, Doc("Sampled; null where the number differs from video to video.")
    ]


@dataclass(frozen=True)
class ScoredRow(Accuracy, _Asked):
    """One method: an entry of `rows`."""

    difference_p_holm: Annotated[
        ShareOrNull,
        Doc("The same by Holm's step-down procedure, over all rows with a difference_p."),
    ]
    detectable: Annotated[
        AmountOrNull,
        Doc(
            "The least difference that these questions show with 80 % probability at the 5 % level:"
            " (t(0.975) + t(0.8)) difference_error, with one degree of freedom fewer than videos. "
            "Null without an error, or where none moved."
        ),
    ]
    uncounted: Annotated[int, Doc("Questions that count neither as right nor as wrong.", minimum=0)]
    macro_accuracy: Annotated[
        ShareOrNull,
        Doc("Mean over kinds of question, of a benchmark that is reported so."),
    ]
    unparsable: Annotated[int, Doc("Answers that couldn't be understood: wrong.", minimum=0)]
    failed: Annotated[int, Doc("Questions without an answer: wrong.", minimum=0)]
    refused: Annotated[
        int, Doc("Questions that weren't put to the model: not in `questions`.", minimum=0)
    ]
    judge_accuracy: Annotated[
        ShareOrNull, Doc("Share of answers that the judge found correct; null without one.")
    ]
    judge_score: Annotated[
        float | None, Doc("Mean of the judge's scores; null without one.", minimum=0, maximum=5)
    ]
    judge_failed: Annotated[
        CountOrNull, Doc("Answers of which the judge made no verdict: wrong, with score 0.")
    ]
    by_type: Annotated[dict[str, Accuracy], Doc("By kind of question.")]
    by_label: Annotated[dict[str, Accuracy], Doc("By label of the video.")]
    by_part: Annotated[dict[str, PartMean], Doc("Measures that only some kinds have.")]
    kept_before_llm: Annotated[
        AmountOrNull,
        Doc("Retention at prefill: mean share of the visual tokens."),
    ]
    kept_in_decode: Annotated[
        AmountOrNull,
        Doc("Retention at decode: mean share over steps and layers."),
    ]
    kept_in_pruned_layers: Annotated[ShareOrNull, Doc("The same in the pruned layers alone.")]
    changed: Annotated[CountOrNull, Doc("Answers with another text than the baseline's.")]
    fixed: Annotated[CountOrNull, Doc("Wrong to right.")]
    broken: Annotated[CountOrNull, Doc("Right to wrong.")]
    mcnemar: Annotated[
        AmountOrNull,
        Doc(
            "McNemar's chi-square of fixed and broken, with continuity correction: of questions "
            "that have nothing in common. Null without either."
        ),
    ]
    mcnemar_p: Annotated[ShareOrNull, Doc("Its p-value.")]
    seconds: Annotated[
        AmountOrNull,
        Doc("Mean time per answer, once the video is encoded; null of logs of lmms-eval."),
    ]
    seconds_prefill: Annotated[
        AmountOrNull,
        Doc(
            "Of that, prefill with the selection; the prefill of an earlier question about the "
            "video may be reused."
        ),
    ]
    seconds_decode: Annotated[AmountOrNull, Doc("Of that, decode.")]
    bytes: Annotated[
        AmountOrNull,
        Doc("Mean size of the KV cache at the end of an answer; null where a server answered."),
    ]
    flops: Annotated[
        AmountOrNull,
        Doc(
            "Mean FLOPs of the language model per answer, by the paper's formula; null where they "
            "weren't counted."
        ),
    ]
    published: Annotated[
        PublishedRecord | None, Doc("What others measured, with --preset; null without such a row.")
    ]
    probability: Annotated[
        ProbabilityRow | None,
        Doc("With --by probability; null without."),
    ]


def make_row(
    row: KeptRow,
    items: list[Item],
    predictions: Predictions,
    uncompressed: Predictions | None,
    *,
    metric: str,
    macro: bool,
    refused: int = 0,
    grades: Grades | None = None,
    published: PublishedRecord | None = None,
    by_probability: Predictions | None = None,
) -> ScoredRow:
    """Aggregate the answers of a row.

    Args:
        uncompressed: answers of the baseline; None without one, or if this is the baseline.
        grades: grades of a judge, or None.
        published: published figures, or None.
        by_probability: choices by the options' probabilities, by question; None without them.
    """

    def score(prediction: Prediction) -> float:
        return prediction.score

    def accuracy(group: list[Item]) -> Accuracy:
        return Accuracy(*astuple(mean_of(score, group, predictions, uncompressed)))

    def by(key: Callable[[Item], str]) -> dict[str, Accuracy]:
        return {name: accuracy(group) for name, group in grouped(items, key).items() if name}

    answers = [one for item in items if (one := predictions[item.id]).error is None]
    kept, kinds = retention(answers), by(lambda item: item.kind)
    moved: Counter[Verdict] | None = None
    if uncompressed is not None:
        changes = list_changes(row.model, row.spec.text, items, predictions, uncompressed)
        moved = Counter(change.outcome for change in changes)
    graded = metric != ACCURACY
    chi_square, p_value = (
        mcnemar(moved["fixed"], moved["broken"]) if moved and not graded else 2 * (None,)
    )
    overall = accuracy(items)
    error = overall.difference_error
    # The degrees of freedom are those of the paired difference: questions that count in both.
    clusters = len({item.video for item in items if _counts(item, predictions, uncompressed)})
    return ScoredRow(
        method=row.spec.name,
        spec=row.spec.text,
        model=row.model,
        parameters=dict(row.parameters),
        frames=row.setup.frames,
        **vars(overall),
        difference_p_holm=None,  # known when all rows are: `compared_by_holm`
        detectable=detectable(error, clusters) if error else None,
        uncounted=len(items) - overall.questions,
        macro_accuracy=_mean_of_kinds(kinds) if macro else None,
        unparsable=sum(not answer.parsed for answer in answers),
        failed=len(items) - len(answers),
        refused=refused,
        judge_accuracy=grades.accuracy if grades else None,
        judge_score=grades.score if grades else None,
        judge_failed=grades.failed if grades else None,
        by_type=kinds,
        by_label=by(lambda item: item.label),
        by_part=_parts(items, predictions, uncompressed),
        kept_before_llm=kept.prefill,
        kept_in_decode=kept.decode,
        kept_in_pruned_layers=kept.pruned_layers,
        changed=None if moved is None else moved.total(),
        fixed=None if moved is None or graded else moved["fixed"],
        broken=None if moved is None or graded else moved["broken"],
        mcnemar=chi_square,
        mcnemar_p=p_value,
        seconds=mean_or_none([answer.seconds for answer in answers]) if answers else 0.0,
        seconds_prefill=mean_or_none([answer.seconds_prefill for answer in answers]),
        seconds_decode=mean_or_none([answer.seconds_decode for answer in answers]),
        bytes=mean_or_none([answer.bytes for answer in answers]) if answers else 0.0,
        flops=mean_or_none([answer.flops for answer in answers]) if answers else None,
        published=published,
        probability=probability_row(items, predictions, by_probability or {}),
    )


def compared_by_holm(rows: Sequence[ScoredRow]) -> tuple[ScoredRow, ...]:
    """The rows of a report with the p-values of all their comparisons."""
    adjusted = holm([row.difference_p for row in rows])
    return tuple(replace(row, difference_p_holm=p) for row, p in zip(rows, adjusted, strict=True))


def _counts(item: Item, *answers: Predictions | None) -> bool:
    """Whether a question is in the denominator under all of these."""
    return all(one is None or one[item.id].counted for one in answers)


def _mean_of_kinds(kinds: Mapping[str, Accuracy]) -> float | None:
    known = [kind.accuracy for kind in kinds.values() if kind.accuracy is not None]
    return fmean(known) if known else None


def _parts(
    items: list[Item], predictions: Predictions, uncompressed: Predictions | None
) -> dict[str, PartMean]:
    names = dict.fromkeys(name for item in items for name in predictions[item.id].parts)
    return {
        name: mean_of(
            lambda prediction, name=name: prediction.parts.get(name, 0.0),  # type: ignore[misc]
            [item for item in items if name in predictions[item.id].parts],
            predictions,
            uncompressed,
        )
        for name in names
    }
