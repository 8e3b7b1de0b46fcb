"""What is promised of an answer, as keys of its JSON object: by `dycoke tune`, and by a guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import Amount, Count, Doc


@dataclass(frozen=True)
class Tuned:
    """What `dycoke tune` chose a method by."""

    videos: Annotated[Count, Doc("That it was chosen and tested on.")]
    questions: Count
    date: Annotated[str, Doc("When, in UTC.")]
    target: Annotated[float, Doc("Agreement that was asked for.")]
    agreement: Annotated[
        float | None,
        Doc(
            "Share of answers that are the uncompressed model's, on videos that it wasn't chosen "
            "by; null where nothing was left to test on. Not accuracy."
        ),
    ]
    interval: Annotated[
        tuple[float, ...], Doc("Of the agreement, with 95 % confidence; empty where it is null.")
    ]


@dataclass(frozen=True)
class Certainty:
    """Certainty of the model in an answer: probabilities of its tokens."""

    least_probability: float  # the smallest probability that a token of it had; of a choice its own
    # the smallest lead of a token's probability over that of the second; of a choice its margin
    least_margin: float
    mean_log_probability: float  # of its tokens, or of the choice


@dataclass(frozen=True)
class GuardStep:
    """A budget that a guard asked with."""

    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    visual_kept: Annotated[Count, Doc("Visual tokens at prefill.")]
    visual_read_per_step: Annotated[
        float | None, Doc("As that of `tokens`, for its own answer.", minimum=0)
    ]
    certainty: Annotated[
        float | None,
        Doc(
            "The smallest probability of the answer's tokens, or the margin of a choice; null of "
            "all tokens, the last."
        ),
    ]
    seconds: Annotated[Amount, Doc("Prefill and decode.")]


@dataclass(frozen=True)
class GuardBound:
    """What a guard promises, and by which certainty."""

    alpha: Annotated[float, Doc("Bound on P(answer differs from the uncompressed one).")]
    on_average: Annotated[
        bool, Doc("Whether it holds on average only (--guard-mean), or with 95 % confidence.")
    ]
    threshold: Annotated[
        float | None, Doc("Certainty from which an answer is kept; null keeps all tokens.")
    ]
    videos: Annotated[Count, Doc("That the threshold rests on.")]


@dataclass(frozen=True)
class Guarded(GuardBound):
    """With --guard: how the answer was found."""

    path: Annotated[tuple[GuardStep, ...], Doc("The budgets taken, in order; the last answered.")]
