"""When something is visible in a video: the key `when` of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.answer.json_schema import Amount, Doc


@dataclass(frozen=True)
class TimeRange:
    """A part of the video about which the answer is yes, with the probabilities that say so."""

    start: Annotated[Amount, Doc("In seconds from the first frame.")]
    end: Annotated[Amount, Doc("Likewise.")]
    inside: Annotated[Amount, Doc("Probability of yes about this part alone.", maximum=1)]
    outside: Annotated[
        float | None,
        Doc(
            "The same about what is beside it, up to a window's length before and behind: the "
            "larger one. Null where nothing is beside it.",
            minimum=0,
            maximum=1,
        ),
    ]
