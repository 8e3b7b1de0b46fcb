"""What is fuzzed: a kind of input, how it is broken, and the code of this package that reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzzing.mutators import Mutator


@dataclass(frozen=True)
class Subject:
    """A kind of input."""

    name: str  # of the subject, as the command has it
    group: str  # what it is one of
    cases: int  # how many are due
    modules: tuple[str, ...]  # to import before the first case, on no case's account
    seeds: Callable[[], Sequence[bytes]]  # sound pieces of input
    mutate: Mutator  # makes a case of a seed
    # gives a case to the code that reads it, in an empty folder; what it returns is the answer, and
    # errors of `DycokeError` are the other good end
    attempt: Callable[[bytes, Path], object]

    def case(self, number: int, seeds: Sequence[bytes]) -> bytes:
        """The content of a case, which is the same each time; the first ones are the seeds."""
        if number < len(seeds):
            return seeds[number]
        rng = Random(f"{self.name} {number}")
        return self.mutate(rng, rng.choice(seeds), seeds)
