"""Facts hidden in prose, and the prompts that ask for them: what stands for a video here."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

TIMES = (
    "In the morning", "At noon", "Later that day", "In the evening", "On Monday", "Last summer",
    "After the rain", "Before dinner", "In early spring", "On a cold day",
)  # fmt: skip
PEOPLE = (
    "the baker", "a teacher", "the old farmer", "a young doctor", "the driver", "a sailor",
    "the gardener", "a painter", "the neighbour", "a carpenter", "the librarian", "a student",
    "the cook", "a singer", "the postman", "a nurse",
)  # fmt: skip
_DEEDS = (
    "walked slowly to", "waited for a friend near", "took a short rest beside",
    "told a long story about", "carried a heavy box past", "made a small drawing of",
    "read a letter behind", "swept the path in front of", "bought some bread close to",
    "played a quiet tune outside",
)  # fmt: skip
_PLACES = (
    "the market", "the river", "the old bridge", "the station", "the library", "the harbour",
    "the bakery", "the garden", "the school", "the museum", "the park", "the church", "the hotel",
    "the theatre", "the farm", "the mill",
)  # fmt: skip
_COLOURS = (
    "red", "blue", "green", "yellow", "purple", "orange", "black", "white", "silver", "golden",
)  # fmt: skip
_THINGS = (
    "umbrella", "guitar", "bicycle", "lamp", "violin", "camera", "candle", "basket", "mirror",
    "kettle", "drum", "ladder",
)  # fmt: skip
MAX_SENTENCES = len(TIMES) * len(PEOPLE) * len(_DEEDS) * len(_PLACES)


@dataclass(frozen=True)
class Context:
    """A text and a question about it."""

    text: str  # the part that may be pruned: prose, and one fact somewhere in it
    question: str  # which asks for the fact
    answer: str  # what was asked for, in lower case


def context(number: int, sentences: int) -> Context:
    """One of the contexts, the same whenever it is made.

    Args:
        sentences: how many it has beside the fact, none of them twice.
    """
    drawn = random.Random(number)
    every = itertools.product(TIMES, PEOPLE, _DEEDS, _PLACES)
    prose = [f"{time}, {who} {did} {place}." for time, who, did, place in every]
    text = drawn.sample(prose, sentences)
    if number % 2:
        answer = f"{drawn.choice(_COLOURS)} {drawn.choice(_THINGS)}"
        fact, question = f'The secret password is "{answer}".', "What is the secret password?"
    else:
        answer = str(drawn.randrange(1000, 10000))
        fact, question = f"The magic number is {answer}.", "What is the magic number?"
    text.insert(drawn.randrange(sentences + 1), fact)
    return Context(" ".join(text), question, answer)
