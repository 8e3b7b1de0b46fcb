"""Which visual tokens an answer came from, step by step: `Answer.trace`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import Doc


@dataclass(frozen=True)
class TraceStep:
    """A generated token, and what the forward that generated it attended to.

    Tokens are flat indices `frame*N + position`, ascending.
    """

    text: Annotated[str, Doc("What the token added to the answer; empty for an end token.")]
    attention: Annotated[
        tuple[float, ...],
        Doc(
            "Attention of the query that generated the token to each token of `kept`: after "
            "softmax over all keys (those of evicted tokens too), averaged over heads."
        ),
    ]
    active: Annotated[
        tuple[int, ...],
        Doc("Visual tokens that the layers behind the selection attended to."),
    ]
    evicted: Annotated[
        tuple[int, ...],
        Doc("Tokens that left the active set."),
    ]
    recalled: Annotated[tuple[int, ...], Doc("Tokens that came back into it.")]
    reselected: Annotated[bool, Doc("The first selection isn't counted.")]


@dataclass(frozen=True)
class Trace:
    """Which visual tokens an answer came from.

    Tokens are flat indices `frame*N + position`, ascending.
    """

    layer: Annotated[int, Doc("Whose attention is recorded, from 0.", minimum=0)]
    kept: Annotated[tuple[int, ...], Doc("Visual tokens that the language model read.")]
    merged_into: Annotated[
        tuple[int, ...] | None,
        Doc(
            "For each visual token the kept one that represents it: itself where it is kept, -1 "
            "where it was dropped. Null of a method that doesn't merge."
        ),
    ]
    steps: Annotated[
        tuple[TraceStep, ...], Doc("The generated tokens; the first comes from the prefill.")
    ]
