"""What is fuzzed: a kind of input, how it is broken, and the code of this package that reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from tests.fuzzing.mutators import Mutator

PACKAGE = Path(__file__).parents[2] / "src" / "dycoke_cli"


@dataclass(frozen=True)
class Subject:
    """A kind of input."""

    name: str  # of the subject, as the record and the command have it
    group: str  # what it is one of, in the table
    cases: int  # how many are due
    # files and folders of the package whose code reads it; cases of other code don't count for this
    # one
    parts: tuple[str, ...]
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

    @property
    def code(self) -> str:
        """Another one when the code that reads it is, or that which makes the cases."""
        digest = hashlib.sha256()
        for part in sorted(self.parts):
            digest.update(_digest(PACKAGE / part))
        digest.update(_digest(Path(__file__).with_name("mutators.py")))
        return digest.hexdigest()[:12]


@cache
def _digest(path: Path) -> bytes:
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    contents = (file.name.encode() + file.read_bytes() for file in files)
    return hashlib.sha256(b"\0".join(contents)).digest()
