"""Sentences of an answer, asked back about the same video (`Ask.check`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dycoke_cli.answer.answer import LEAST_MASS, Answer, CheckedSentence
from dycoke_cli.answer.caption import CaptionStyle, checking_question, sentences
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions

OPTIONS = GenerationOptions(typed=TypedOptions.yes_no())


def checked(
    answer: Answer, style: CaptionStyle, ask: Callable[[str, GenerationOptions], Answer]
) -> Answer:
    """An answer with the probability that each sentence of it is true.

    Args:
        style: makes the text whose sentences are asked about.
        ask: answers a question about the video of the answer.
    """
    text = style.text(answer.answer, is_cut=answer.finish_reason == "length")
    found = []
    for sentence in sentences(text):
        said = probability_of_yes(ask(checking_question(sentence), OPTIONS))
        found.append(CheckedSentence(sentence, said))
    return replace(answer, sentences=tuple(found))


def probability_of_yes(answer: Answer) -> float | None:
    """Probability of yes in a typed answer; None where the model would rather say neither."""
    assert not isinstance(answer.probabilities, Absent)
    assert not isinstance(answer.scoring, Absent)
    return answer.probabilities["yes"] if answer.scoring.mass >= LEAST_MASS else None
