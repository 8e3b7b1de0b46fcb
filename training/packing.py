"""Several questions behind one clip, masked from each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from training.text_targets import NOT_CHOSEN, UNNAMED, chosen, namings, placed, sought
from training.tokenizer import Codec
from training.world.script_questions import KINDS, ScriptQuestion

IGNORED = -100
# How much a word of a true claim counts, beside one word of an answer of one word.
CLAIM_WEIGHT = 0.12
# How much a letter counts: one token tells all that four options were read for.
LETTER_WEIGHT = 4.0
TRUE, FALSE = 1, 0


@dataclass
class Token:
    """A token of a packed text, and what is learned there."""

    text: int  # its id
    # the next token where it is learned: in answers and true claims; else -100
    label: int = IGNORED
    answered: bool = False  # whether the label belongs to an answer
    weight: float = 0.0  # how much the label counts
    verdict: int = IGNORED  # TRUE or FALSE at the last word of a claim, else -100
    # name, colour and shape where a name's thing is settled, else zeros
    named: tuple[int, ...] = UNNAMED
    placed: int = 0  # number of the event that is named to its end here, else 0
    sought: int = 0  # number of the event that the token predicted here tells, else 0
    # the letter of an option that ends here, and again where it is right, else zeros
    chosen: tuple[int, ...] = NOT_CHOSEN
    segment: int = -1  # which question the token belongs to; -1 for padding
    position: int = 0  # from 0 on in each question


@dataclass
class Row:
    """The packed questions of one clip: T tokens with their padding, and the questions in order."""

    tokens: list[Token] = field(default_factory=list)
    questions: list[ScriptQuestion] = field(default_factory=list)


def pack(questions: list[ScriptQuestion], room: int, codec: Codec, events: list[str]) -> Row:
    """As many of the questions as fit into `room` tokens, in the order given.

    `events` are the clip's, in order, as clauses.
    """
    row = Row()
    for question in questions:
        tokens = _tokens(question, codec, events)
        if len(row.tokens) + len(tokens) > room:
            continue
        for position, token in enumerate(tokens):
            token.segment, token.position = len(row.questions), position
        row.tokens += tokens
        row.questions.append(question)
    row.tokens += [Token(codec.pad)] * (room - len(row.tokens))
    return row


def _tokens(question: ScriptQuestion, codec: Codec, events: list[str]) -> list[Token]:
    """A question with its answer."""
    asked = codec.question(question.text, question.earlier)
    answer = codec.answer(question.answer)
    # The end token is what the last word predicts; nothing is predicted from it.
    ids = [*asked, *answer[:-1]]
    tokens = [Token(number) for number in ids]
    spans = _spans(question, codec)
    for first, last, true in spans:
        tokens[last].verdict = TRUE if true else FALSE
        for i in range(first, last) if true else ():
            tokens[i].label, tokens[i].weight = ids[i + 1], CLAIM_WEIGHT
    # Between every word and every answer counting the same: "B" is a short answer.
    weight = (LETTER_WEIGHT if question.kind == "letter" else 1.0) * len(answer) ** -0.5
    before = len(asked) - 1
    told = sought(question, events, codec)
    for token, label, event in zip(tokens[before:], answer, told, strict=True):
        token.label, token.answered, token.weight, token.sought = label, True, weight, event
    for i, facts in namings(question, codec).items():
        tokens[i].named = facts
    for i, event in placed(question, events, codec).items():
        tokens[i].placed = event
    for i, letters in chosen(question, [last for _, last, _ in spans]).items():
        tokens[i].chosen = letters
    return tokens


def in_turns(
    questions: list[ScriptQuestion], first: tuple[str, ...], rng: np.random.Generator
) -> list[ScriptQuestion]:
    """One question of each kind after the other, so that all kinds get their share."""
    by_kind = {kind: [q for q in questions if q.kind == kind] for kind in KINDS}
    order: list[ScriptQuestion] = []
    while any(by_kind.values()):
        kinds = [KINDS[int(i)] for i in rng.permutation(len(KINDS))]
        kinds.sort(key=lambda kind: kind not in first)
        order += [by_kind[kind].pop() for kind in kinds if by_kind[kind]]
    return order


def _spans(question: ScriptQuestion, codec: Codec) -> list[tuple[int, int, bool]]:
    """First and last token of each claim in the question's tokens, and whether it is true.

    In the order of the claims. They are looked for from the last one back, as whole words: what an
    option says may stand in the question as well, or inside another option.
    """
    found, rest = [], question.text.lower()
    shift = codec.before([text for turn in question.earlier for text in turn])
    for claim in reversed(question.claims):
        said = re.escape(claim.text.lower())
        *_, last_found = re.finditer(rf"\b{said}\b", rest)
        rest = rest[: last_found.start()]
        # The blank before a word belongs to it.
        first = len(codec.text(question.text[: last_found.start()].removesuffix(" ")))
        last = len(codec.text(question.text[: last_found.end()])) - 1
        found.append((shift + first, shift + last, claim.true))
    return found[::-1]
