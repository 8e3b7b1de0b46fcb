"""Options that a typed question is answered with one of; importing this doesn't import torch."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from dycoke_cli.errors import UsageError
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name, for_model

MOST_OPTIONS = 256
_MOST_BYTES = 1 << 20
_WHOLE = re.compile(r"-?\d{1,9}")
_RANGE = re.compile(r"(-?\d{1,9})-(-?\d{1,9})")


@dataclass(frozen=True)
class TypedOptions:
    """Options of an answer: their probabilities are its result, and no text is generated.

    Args:
        texts: as the model would write them, in order.
        is_score: whether the options are numbers, which have a mean.

    Raises:
        UsageError: fewer than two options, more than `MOST_OPTIONS`, or one that is empty, given
            twice or isn't valid text; of a score, one that isn't a whole number.
    """

    texts: tuple[str, ...]
    is_score: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):  # whose characters would be the options
            raise UsageError(f"options are several texts, not the one text {self.texts!a:.100}")
        texts = tuple(text.strip() for text in self.texts)
        object.__setattr__(self, "texts", texts)
        if "" in texts:
            raise UsageError("an option is empty; leave it out")
        if len(texts) < 2:
            raise UsageError("a choice needs two options or more, as in red,blue")
        if len(texts) > MOST_OPTIONS:
            raise UsageError(f"{len(texts)} options are more than the {MOST_OPTIONS} allowed")
        for text in texts:
            if for_model(text) != text or len(text.splitlines()) > 1:
                raise UsageError(f"the option {text!a} isn't one line of printable text")
            if self.is_score and not _WHOLE.fullmatch(text):
                raise UsageError(f"the option {text!a} of a score isn't a whole number")
        text, count = Counter(texts).most_common(1)[0]
        if count > 1:
            raise UsageError(f"the option {text!r} is given {count} times; give it once")

    @classmethod
    def parse(cls, given: str) -> Self:
        """Options from "a,b,c", or from a file with one per line.

        Args:
            given: a path, if there is such a file; with a comma otherwise a list.

        Raises:
            UsageError: it is neither; or see the class.
        """
        if os.path.isfile(given):
            return cls(tuple(_lines(given)))
        if "," in given:
            return cls(tuple(given.split(",")))
        raise UsageError(
            f"--choices {display_name(given)} is neither a list, as in --choices red,blue, nor a "
            "file with an option per line"
        )

    @classmethod
    def yes_no(cls) -> Self:
        """Yes or no."""
        return cls(("yes", "no"))

    @classmethod
    def parse_score(cls, given: str) -> Self:
        """Whole numbers from "LOW-HIGH".

        Raises:
            UsageError: it isn't two numbers, the lower one first; or see the class.
        """
        match = _RANGE.fullmatch(given.strip())
        low, high = map(int, match.groups()) if match else (0, 0)
        if low >= high:
            raise UsageError(f"--score takes two whole numbers, as in 1-5, not {given!r}")
        if high - low >= MOST_OPTIONS:
            raise UsageError(f"--score {given} has more than the {MOST_OPTIONS} numbers allowed")
        return cls(tuple(map(str, range(low, high + 1))), is_score=True)

    def mean(self, probabilities: Mapping[str, float]) -> float | None:
        """Mean of the numbers under their probabilities; None if the options aren't numbers."""
        if not self.is_score:
            return None
        return sum(float(text) * probability for text, probability in probabilities.items())


def _lines(path: str) -> list[str]:
    try:
        text = read_text(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(
            f"--choices {display_name(path)} can't be read: {error.strerror}"
        ) from error
    # A line break ends the last line, and doesn't begin an empty option.
    return text.removesuffix("\n").split("\n")
