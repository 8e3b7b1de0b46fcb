"""Evaluation of settings against the uncompressed model's answers or choices, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from dycoke_cli.answer.answer import Answer, Certainty
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.observing import (
    CertaintyObserver,
    ForcingObserver,
    ReferenceObserver,
)
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.scoring.comparable_text import bare
from dycoke_cli.tuning.search import Observation

_LEAST = 1e-12
"""Probability that an option counts as having at least: the divergence is finite."""


class Baseline:
    """Uncompressed answers about a video, and comparisons with them; the video is encoded once.

    Attributes:
        observations: of the uncompressed model; refused questions have none.
    """

    def __init__(
        self,
        session: VideoSession,
        questions: Sequence[str],
        options: GenerationOptions,
        on_answer: Callable[[Answer], None] = lambda answer: None,
    ) -> None:
        self._session, self._options = session, options
        self._references: dict[str, Any] = {}  # by question: what others are compared with
        self.observations: list[Observation] = []
        for question in questions:
            answer, reference = self._first(question)
            if not answer.refused:
                self._references[question] = reference
                self.observations.append(self._observed(answer, answer.answer, reference, 0.0))
                on_answer(answer)

    def compare(self, method: Method) -> list[Observation]:
        """Observe a setting on each question.

        One pass is forced to the uncompressed answer's tokens, which gives the divergence. Only
        if the greedy tokens differ somewhere, a second pass generates the free answer.
        """
        return [self._compare(base, method) for base in self.observations]

    def _first(self, question: str) -> tuple[Answer, Any]:
        """The uncompressed answer, and what others are compared with."""
        observer = ReferenceObserver()
        options = asdict(self._options)
        return self._session.ask(question, Method(), observer=observer, **options), observer

    def _compare(self, base: Observation, method: Method) -> Observation:
        reference = self._references[base.question].reference()
        forcing = ForcingObserver(reference)
        options = replace(self._options, max_new_tokens=len(reference.tokens))
        answer = self._session.ask(base.question, method, observer=forcing, **asdict(options))
        observer: CertaintyObserver = forcing
        if not forcing.agrees:
            observer = CertaintyObserver()
            answer = self._session.ask(
                base.question, method, observer=observer, **asdict(self._options)
            )
        return self._observed(answer, base.answer, observer, forcing.divergence)

    @staticmethod
    def _observed(answer: Answer, base: str, observer: Any, divergence: float) -> Observation:
        tokens = answer.tokens
        in_decode = tokens.visual_read_per_step
        return _observation(
            answer,
            same=bare(answer.answer) == bare(base),
            divergence=divergence,
            certainty=observer.certainty(0, tokens.generated),
            read_in_decode=tokens.visual_active_in_decode if in_decode is None else in_decode,
        )


class BaselineChoices(Baseline):
    """The same of typed questions: their choices are compared, by one prefill each."""

    def _first(self, question: str) -> tuple[Answer, Any]:
        answer = self._session.ask(question, Method(), **vars(self._options))
        return answer, answer.probabilities

    def _compare(self, base: Observation, method: Method) -> Observation:
        answer = self._session.ask(base.question, method, **vars(self._options))
        before, own = self._references[base.question], answer.probabilities
        assert not isinstance(own, Absent), "the question is typed"
        return self._observed(answer, base.answer, own, divergence(before, own))

    @staticmethod
    def _observed(answer: Answer, base: str, shares: Any, divergence: float) -> Observation:
        second, chosen = sorted(shares.values())[-2:]
        return _observation(
            answer,
            same=answer.answer == base,
            divergence=divergence,
            certainty=Certainty(chosen, chosen - second, math.log(chosen)),
            # Nothing is decoded, so that what was read at prefill is all of the cost.
            read_in_decode=float(answer.tokens.visual_kept),
        )


def _observation(answer: Answer, **compared: Any) -> Observation:
    return Observation(
        question=answer.question,
        answer=answer.answer,
        visual=answer.tokens.visual,
        read=answer.tokens.visual_kept,
        seconds=answer.seconds.prefill + answer.seconds.decode,
        **compared,
    )


def divergence(base: Mapping[str, float], other: Mapping[str, float]) -> float:
    """KL divergence of the probabilities of the same options, in nats."""
    return sum(
        share * math.log(share / max(other[text], _LEAST))
        for text, share in base.items()
        if share > 0
    )
