"""Options of single tokens: how each is drawn, what ends the answer; importing needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param, check_all

MOST_STOPS = 16
MOST_LOGPROBS = 20
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
    # likeliest tokens that are reported at each step, beside that of the answer; None reports
    # nothing
    top_logprobs: Annotated[
        int | None, Param("Likeliest tokens reported.", at_least=0, to=MOST_LOGPROBS, default="")
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
        return self.ends_or_reports or self.repetition_penalty is not None

    @property
    def ends_or_reports(self) -> bool:
        """Whether a text ends the answer, or its tokens are reported."""
        return bool(self.stop) or self.top_logprobs is not None

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
