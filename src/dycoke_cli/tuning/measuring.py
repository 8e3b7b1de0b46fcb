"""Evaluation of settings against the uncompressed model's answers, without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.observing import (
    CertaintyObserver,
    ForcingObserver,
    Reference,
    ReferenceObserver,
)
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.scoring.comparable_text import bare
from dycoke_cli.tuning.search import Observation


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
        self._references: dict[str, Reference] = {}
        self.observations: list[Observation] = []
        for question in questions:
            observer = ReferenceObserver()
            answer = session.ask(question, Method(), observer=observer, **asdict(options))
            if answer.refused:
                continue
            self._references[question] = observer.reference()
            self.observations.append(_observed(answer, answer.answer, observer, 0.0))
            on_answer(answer)

    def compare(self, method: Method) -> list[Observation]:
        """Observe a setting on each question.

        One pass is forced to the uncompressed answer's tokens, which gives the divergence. Only
        if the greedy tokens differ somewhere, a second pass generates the free answer.
        """
        return [self._compare(base, method) for base in self.observations]

    def _compare(self, base: Observation, method: Method) -> Observation:
        reference = self._references[base.question]
        forcing = ForcingObserver(reference)
        options = replace(self._options, max_new_tokens=len(reference.tokens))
        answer = self._session.ask(base.question, method, observer=forcing, **asdict(options))
        observer: CertaintyObserver = forcing
        if not forcing.agrees:
            observer = CertaintyObserver()
            answer = self._session.ask(
                base.question, method, observer=observer, **asdict(self._options)
            )
        return _observed(answer, base.answer, observer, forcing.divergence)


def _observed(
    answer: Answer, base: str, observer: CertaintyObserver, divergence: float
) -> Observation:
    tokens = answer.tokens
    in_decode = tokens.visual_read_per_step
    return Observation(
        question=answer.question,
        answer=answer.answer,
        same=bare(answer.answer) == bare(base),
        divergence=divergence,
        certainty=observer.certainty(0, tokens.generated),
        visual=tokens.visual,
        read=tokens.visual_kept,
        read_in_decode=tokens.visual_active_in_decode if in_decode is None else in_decode,
        seconds=answer.seconds.prefill + answer.seconds.decode,
    )
