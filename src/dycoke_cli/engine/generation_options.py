"""How an answer is generated: its length, sampling, and what tokens or options it may have.

Importing this doesn't import torch.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Annotated, Any, Self

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError, check_kind
from dycoke_cli.param import Options, Param, check_all
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name, for_model

MOST_STOPS = 16
_LONGEST_STOP = 1000
_OWN = "the checkpoint's"


@dataclass(frozen=True)
class TokenOptions(Options):
    """How each token of an answer is drawn, what ends it, and what is reported of it.

    Unset ones are those of the checkpoint, as in stock `generate()`.
    """

    top_p: Annotated[
        float | None,
        Param("Draw from the likeliest tokens up to this sum.", above=0, to=1, default=_OWN),
    ] = None
    top_k: Annotated[
        int | None,
        Param("Draw from so many likeliest tokens; 0: from all.", at_least=0, default=_OWN),
    ] = None
    min_p: Annotated[
        float | None,
        Param("Draw from tokens of this share of the likeliest.", at_least=0, to=1, default=_OWN),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Param("Above 1, tokens of prompt and answer are less likely.", above=0, default=_OWN),
    ] = None
    stop: tuple[str, ...] = ()  # texts that end the answer, and aren't part of it

    def __post_init__(self) -> None:
        check_all(self)
        check_kind(self.stop, (tuple, list), "stop takes several texts")
        if len(self.stop) > MOST_STOPS:
            raise UsageError(f"stop has {len(self.stop)} texts, and at most {MOST_STOPS} may be")
        if any(
            not isinstance(text, str) or not 0 < len(text) <= _LONGEST_STOP for text in self.stop
        ):
            raise UsageError(f"a text of stop must have 1 to {_LONGEST_STOP} characters")

    def arguments(self, sampled: bool) -> dict[str, Any]:
        """The arguments of stock `generate()`; those of a draw only where tokens are drawn."""
        names = ("top_p", "top_k", "min_p") if sampled else ()
        values = {name: getattr(self, name) for name in (*names, "repetition_penalty")}
        if self.repetition_penalty is not None:
            # Stock code takes no int, which JSON may have for 2.0.
            values["repetition_penalty"] = float(self.repetition_penalty)
        return {name: value for name, value in values.items() if value is not None}


def end_tokens(model: Any) -> set[int]:
    """Ids of the tokens that end an answer."""
    end = model.generation_config.eos_token_id
    if end is None:
        return set()
    return set(end) if isinstance(end, list) else {end}


LARGEST_SEED = 2**63 - 1
WHAT_FITS = sys.maxsize
"""As `max_tokens`: as many as the model's context has room for behind the prompt."""
LEAST_TEMPERATURE = 1e-6
"""Below it, logits that are divided by it aren't finite, and there is nothing to draw from."""


@dataclass(frozen=True)
class GenerationOptions(Options):
    """How an answer is generated.

    Args:
        trace: the layer whose attention is recorded, for `Answer.trace`; None records nothing.
        typed: options that the answer is one of, by probabilities; None generates text.
        structured: form that the text is held to; None for free text.
        tokens: how tokens are drawn, and what ends the answer; None for the checkpoint's own.

    Raises:
        UsageError: a value out of range, or sampling or a form of a typed answer.
    """

    max_tokens: Annotated[
        int, Param("Maximum tokens of the answer.", at_least=1, also="--max-new-tokens")
    ] = 128
    temperature: Annotated[float, Param("Sampling temperature; 0 is greedy.", at_least=0)] = 0.0
    seed: Annotated[
        int | None, Param("Sampling seed, to repeat an answer.", default="a new one each time")
    ] = None
    trace: int | None = None
    typed: TypedOptions | None = field(default=None, metadata={"before": None})
    structured: StructuredOutput | None = field(default=None, metadata={"before": None})
    tokens: TokenOptions | None = field(default=None, metadata={"before": None})

    def __post_init__(self) -> None:
        check_all(self)
        # A form and options are made by functions that check them.
        for value, kind, wanted in (
            (
                self.typed,
                TypedOptions,
                'typed takes TypedOptions.parse("red,blue") or TypedOptions.yes_no()',
            ),
            (self.structured, StructuredOutput, "structured takes StructuredOutput.from_schema(…)"),
            (self.tokens, TokenOptions, "tokens takes TokenOptions(…)"),
            (self.trace, int, "trace takes the index of a layer"),
        ):
            check_kind(value, (kind, NoneType), wanted)
        # Stock code takes no int, which JSON may have for 2.0.
        object.__setattr__(self, "temperature", float(self.temperature))
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise UsageError(
                f"temperature must be 0 or at least {LEAST_TEMPERATURE:g}, "
                f"not {self.temperature:g}; 0 is greedy"
            )
        if self.typed is not None and (self.temperature > 0 or self.trace is not None):
            raise UsageError("the options of a typed answer are scored, not sampled or traced")
        if self.typed is not None and self.structured is not None:
            raise UsageError("an answer is one of given options or has a given form, not both")
        own = self.tokens
        of_tokens = own is not None and (own.stop or own.repetition_penalty is not None)
        if self.typed is not None and of_tokens:
            raise UsageError(
                "the options of a typed answer are scored, not generated: leave out stop and "
                "repetition_penalty"
            )
        if self.structured is not None and self.tokens is not None and self.tokens.stop:
            raise UsageError("an answer of a given form ends with the form: leave out stop")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}")

    def of_what_fits(self) -> GenerationOptions:
        """The same, with as many new tokens as the context has room for behind the prompt."""
        return replace(self, max_tokens=WHAT_FITS)


MOST_OPTIONS = 256
# More than any 256 tokens have, and encoded in a moment.
_MOST_CHARACTERS = 1 << 14
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
        UsageError: fewer than two options, more than `MOST_OPTIONS`, too long ones, or one that is
            empty, given twice or isn't valid text; of a score, one that isn't a whole number.
    """

    texts: tuple[str, ...]
    is_score: bool = False

    def __post_init__(self) -> None:
        # Of a text the characters would be the options.
        check_kind(self.texts, (tuple, list), 'options are several texts, as in ("red", "blue")')
        for text in self.texts:
            check_kind(text, str, "an option is a text")
        texts = tuple(text.strip() for text in self.texts)
        object.__setattr__(self, "texts", texts)
        if "" in texts:
            raise UsageError("an option is empty; leave it out")
        if len(texts) < 2:
            raise UsageError("a choice needs two options or more, as in red,blue")
        if len(texts) > MOST_OPTIONS:
            raise UsageError(f"{len(texts)} options are more than the {MOST_OPTIONS} allowed")
        if (size := sum(map(len, texts))) > _MOST_CHARACTERS:
            raise UsageError(
                f"the options have {size} characters together, and at most {_MOST_CHARACTERS} may "
                "be; shorten them"
            )
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
        check_kind(given, str, 'TypedOptions.parse takes one text, as in "red,blue"')
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
        check_kind(given, str, 'TypedOptions.parse_score takes a text, as in "1-5"')
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
