"""How an answer is generated: its length, sampling, and what tokens it may have."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError, check_kind
from dycoke_cli.param import Param, check_all

MOST_STOPS = 16
_LONGEST_STOP = 1000
_OWN = "the checkpoint's"


@dataclass(frozen=True)
class TokenOptions:
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
        if len(self.stop) > MOST_STOPS:
            raise UsageError(f"stop has {len(self.stop)} texts, and at most {MOST_STOPS} may be")
        if any(not 0 < len(text) <= _LONGEST_STOP for text in self.stop):
            raise UsageError(f"a text of stop must have 1 to {_LONGEST_STOP} characters")

    @property
    def needs_tokens(self) -> bool:
        """Whether these are of an answer that is generated, which options of a choice aren't."""
        return bool(self.stop) or self.repetition_penalty is not None

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
"""As `max_new_tokens`: as many as the model's context has room for behind the prompt."""
LEAST_TEMPERATURE = 1e-6
"""Below it, logits that are divided by it aren't finite, and there is nothing to draw from."""


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is generated.

    Args:
        trace: the layer whose attention is recorded, for `Answer.trace`; None records nothing.
        typed: options that the answer is one of, by probabilities; None generates text.
        structured: form that the text is held to; None for free text.
        tokens: how tokens are drawn, and what ends the answer; None for the checkpoint's own.

    Raises:
        UsageError: a value out of range, or sampling or a form of a typed answer.
    """

    max_new_tokens: Annotated[int, Param("Maximum new tokens.", at_least=1)] = 128
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
        options = 'typed takes TypedOptions.parse("red,blue") or TypedOptions.yes_no()'
        for value, kinds, wanted in (
            (self.typed, (TypedOptions,), options),
            (self.structured, StructuredOutput, "structured takes StructuredOutput.from_schema(…)"),
        ):
            if value is not None:
                check_kind(value, kinds, wanted)
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
        if self.typed is not None and self.tokens is not None and self.tokens.needs_tokens:
            raise UsageError(
                "the options of a typed answer are scored, not generated: leave out stop and "
                "repetition_penalty"
            )
        if self.structured is not None and self.tokens is not None and self.tokens.stop:
            raise UsageError("an answer of a given form ends with the form: leave out stop")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}")
