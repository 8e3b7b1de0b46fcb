"""Several questions behind one clip, masked from each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from dycoke_cli.models.mini.training.choosing import NOT_CHOSEN, chosen
from dycoke_cli.models.mini.training.naming import UNNAMED, namings
from dycoke_cli.models.mini.training.placing import placed, sought
from dycoke_cli.models.mini.training.tokenizer import Codec
from dycoke_cli.shapes.questions.question import KINDS, Question

IGNORED = -100
# How much a word of a true claim counts, beside one word of an answer of one word.
CLAIM_WEIGHT = 0.12
TRUE, FALSE = 1, 0


@dataclass
class Row:
    """The packed questions of one clip: lists of T numbers each, and the questions themselves.

    Attributes:
        text: token ids.
        labels: the next token where it is learned: in answers and true claims; else -100.
        answered: whether the label belongs to an answer.
        weights: how much a label counts.
        verdicts: TRUE or FALSE at the last word of a claim, else -100.
        named: name, colour and shape where a name's thing is settled (see `naming`), else zeros.
        placed: number of the event that is named to its end here, else 0 (see `placing`).
        sought: number of the event that the token predicted here tells, else 0 (see `placing`).
        chosen: the letter of an option that ends here, and again where it is right (see
            `choosing`), else zeros.
        segments: which question a token belongs to; -1 for padding.
        positions: from 0 on in each question.
        questions: in order.
    """

    text: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    verdicts: list[int] = field(default_factory=list)
    named: list[tuple[int, ...]] = field(default_factory=list)
    placed: list[int] = field(default_factory=list)
    sought: list[int] = field(default_factory=list)
    chosen: list[tuple[int, ...]] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def pack(questions: list[Question], room: int, codec: Codec, events: list[str]) -> Row:
    """As many of the questions as fit into `room` tokens, in the order given.

    `events` are the clip's, in order, as clauses.
    """
    row = Row()
    for question in questions:
        asked = codec.question(question.text, question.earlier)
        answer = codec.answer(question.answer)
        # The end token is what the last word predicts; nothing is predicted from it.
        ids = [*asked, *answer[:-1]]
        if len(row.text) + len(ids) > room:
            continue
        before = len(asked) - 1
        labels, weights, verdicts = [IGNORED] * len(ids), [0.0] * len(ids), [IGNORED] * len(ids)
        spans = _spans(question, codec)
        for first, last, true in spans:
            verdicts[last] = TRUE if true else FALSE
            for i in range(first, last) if true else ():
                labels[i], weights[i] = ids[i + 1], CLAIM_WEIGHT
        labels[before:] = answer
        # Between every word and every answer counting the same: "B" is a short answer.
        weights[before:] = [len(answer) ** -0.5] * len(answer)
        row.text += ids
        row.labels += labels
        row.answered += [i >= before for i in range(len(ids))]
        row.weights += weights
        row.verdicts += verdicts
        settled = namings(question, codec)
        row.named += [settled.get(i, UNNAMED) for i in range(len(ids))]
        places = placed(question, events, codec)
        row.placed += [places.get(i, 0) for i in range(len(ids))]
        row.sought += [0] * before + sought(question, events)
        options = chosen(question, [last for _, last, _ in spans])
        row.chosen += [options.get(i, NOT_CHOSEN) for i in range(len(ids))]
        row.segments += [len(row.questions)] * len(ids)
        row.positions += range(len(ids))
        row.questions.append(question)
    left = room - len(row.text)
    row.text += [codec.pad] * left
    row.labels += [IGNORED] * left
    row.answered += [False] * left
    row.weights += [0.0] * left
    row.verdicts += [IGNORED] * left
    row.named += [UNNAMED] * left
    row.placed += [0] * left
    row.sought += [0] * left
    row.chosen += [NOT_CHOSEN] * left
    row.segments += [-1] * left
    row.positions += [0] * left
    return row


def in_turns(
    questions: list[Question], first: tuple[str, ...], rng: np.random.Generator
) -> list[Question]:
    """One question of each kind after the other, so that all kinds get their share.

    Args:
        questions: in random order.
        first: kinds that come before all others.
        rng: draws the order of the kinds, anew in each turn.
    """
    by_kind = {kind: [q for q in questions if q.kind == kind] for kind in KINDS}
    order: list[Question] = []
    while any(by_kind.values()):
        kinds = [KINDS[int(i)] for i in rng.permutation(len(KINDS))]
        kinds.sort(key=lambda kind: kind not in first)
        order += [by_kind[kind].pop() for kind in kinds if by_kind[kind]]
    return order


def _spans(question: Question, codec: Codec) -> list[tuple[int, int, bool]]:
    """First and last token of each claim in the question's tokens, and whether it is true.

    In the order of the claims. They are looked for from the last one back, as whole words: what an
    option says may stand in the question as well, or inside another option.
    """
    found, shift = [], 0
    for asked, answered in question.earlier:
        shift += len(codec.text(asked)) + len(codec.text(answered)) + 6
    rest = question.text.lower()
    for claim in reversed(question.claims):
        said = re.escape(claim.text.lower())
        *_, last_found = re.finditer(rf"\b{said}\b", rest)
        rest = rest[: last_found.start()]
        first = len(codec.text(rest))
        last = first + len(codec.text(claim.text)) - 1
        found.append((shift + first, shift + last, claim.true))
    return found[::-1]
