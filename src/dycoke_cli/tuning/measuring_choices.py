"""Evaluation of settings against the uncompressed model's choices: typed questions, no labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dycoke_cli.answer.answer import Answer, Certainty
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.tuning.search import Observation

_LEAST = 1e-12
"""Probability that an option counts as having at least: the divergence is finite."""


class BaselineChoices:
    """Uncompressed choices about a video, and comparisons with them; see `measuring.Baseline`."""

    def __init__(
        self,
        session: VideoSession,
        questions: Sequence[str],
        options: GenerationOptions,
        on_answer: Callable[[Answer], None] = lambda answer: None,
    ) -> None:
        self._session, self._options = session, options
        self._probabilities: dict[str, Mapping[str, float]] = {}
        self.observations: list[Observation] = []
        for question in questions:
            answer = session.ask(question, Method(), **vars(options))
            if answer.refused:
                continue
            self._probabilities[question] = _probabilities(answer)
            self.observations.append(_observed(answer, answer.answer, 0.0))
            on_answer(answer)

    def compare(self, method: Method) -> list[Observation]:
        """Observe a setting on each question: one prefill each."""
        return [self._compare(base, method) for base in self.observations]

    def _compare(self, base: Observation, method: Method) -> Observation:
        answer = self._session.ask(base.question, method, **vars(self._options))
        before = self._probabilities[base.question]
        return _observed(answer, base.answer, divergence(before, _probabilities(answer)))


def divergence(base: Mapping[str, float], other: Mapping[str, float]) -> float:
    """KL divergence of the probabilities of the same options, in nats."""
    return sum(
        share * math.log(share / max(other[text], _LEAST))
        for text, share in base.items()
        if share > 0
    )


def _probabilities(answer: Answer) -> Mapping[str, float]:
    assert not isinstance(answer.probabilities, Absent)
    return answer.probabilities


def _observed(answer: Answer, base: str, diverges: float) -> Observation:
    second, chosen = sorted(_probabilities(answer).values())[-2:]
    return Observation(
        question=answer.question,
        answer=answer.answer,
        same=answer.answer == base,
        divergence=diverges,
        certainty=Certainty(chosen, chosen - second, math.log(chosen)),
        visual=answer.tokens.visual,
        read=answer.tokens.visual_kept,
        # Nothing is decoded, so that what was read at prefill is all of the cost.
        read_in_decode=float(answer.tokens.visual_kept),
        seconds=answer.seconds.prefill + answer.seconds.decode,
    )
