"""How the options of a typed question were scored: the key `scoring` of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import Amount, Count, Doc

LEAST_MASS = 0.5
"""Below it other first tokens are likelier than those of all options together."""


@dataclass(frozen=True)
class Scoring:
    """How the options of a typed question were scored; lists are in the order of the options."""

    texts: Annotated[
        tuple[str, ...],
        Doc(
            "The options as they were scored: as given, or all with a capital first letter. With "
            "--number the numbers."
        ),
    ]
    log_probabilities: Annotated[
        tuple[float, ...],
        Doc(
            "Of each whole text behind the prompt, in nats: the sum over tokens. With --number "
            "that a free answer begins with the number."
        ),
    ]
    tokens: Annotated[tuple[Count, ...], Doc("Tokens scored of each.")]
    per_token: Annotated[
        bool,
        Doc(
            "Whether log-probabilities were divided by the tokens before they became "
            "probabilities, because options have different numbers of tokens."
        ),
    ]
    ended: Annotated[
        bool,
        Doc(
            "Whether the end of the answer was scored as one more token, because an option begins "
            "with another one."
        ),
    ]
    prior: Annotated[
        tuple[float, ...] | None,
        Doc(
            "With --calibrate: the log-probabilities behind the prompt without the video, which "
            "were subtracted; else null."
        ),
    ]
    mass: Annotated[
        Amount,
        Doc(
            "Probability of all options' first tokens together, among all tokens; with --number "
            "that a free answer begins with one of the numbers. Small: the model would rather "
            "answer something else.",
            maximum=1,
        ),
    ]
    likeliest: Annotated[str, Doc("The token that the model would rather begin its answer with.")]
