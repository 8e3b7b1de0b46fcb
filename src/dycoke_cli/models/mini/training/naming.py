"""The lesson on names: which thing a name in the subtitles means, at each token that settles it."""

from __future__ import annotations

import re

from dycoke_cli.models.mini.training.tokenizer import Codec
from dycoke_cli.shapes.questions.question import Question
from dycoke_cli.shapes.world.vocabulary import COLOURS, NAMES, SHAPES

# Name, colour and shape of the thing; 0 for none.
NAMED = (len(NAMES) + 1, len(COLOURS) + 1, len(SHAPES) + 1)
UNNAMED = (0,) * len(NAMED)


def namings(question: Question, codec: Codec) -> dict[int, tuple[int, ...]]:
    """Where a name's thing is settled: token of the question -> (name, colour, shape), see NAMED.

    That is the last word of the sentence that names the thing, the name wherever it is used behind
    the subtitles, and the last token of the prompt, where the answer begins. Empty for a question
    without subtitles.
    """
    if question.kind != "subtitles":
        return {}
    subtitles, _, asked = question.text.rpartition("\n")
    found, meant = {}, {}

    def token(end: int) -> int:
        return len(codec.text(question.text[:end])) - 1

    for sentence in re.finditer(r"[^.]+", subtitles):
        words = {m[0]: m for m in re.finditer(r"\w+", sentence[0])}
        told = [next((w for w in words if w in group), "") for group in (NAMES, COLOURS, SHAPES)]
        if all(told):
            facts = tuple(
                group.index(w) + 1 for group, w in zip((NAMES, COLOURS, SHAPES), told, strict=True)
            )
            meant[told[0]] = facts
            found[token(sentence.start() + max(words[w].end() for w in told))] = facts
    for word in re.finditer(r"\w+", asked):
        if word[0] in meant:
            found[token(len(subtitles) + 1 + word.end())] = meant[word[0]]
            found[len(codec.question(question.text)) - 1] = meant[word[0]]
    return found
