"""How workloads are run: the models, the configurations that take part, the pages of tables."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.drawn import drawn
from benchmarks.speed import contestants as who
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.journal import Heat, Journal
from benchmarks.speed.measuring import language, whole
from benchmarks.speed.tables import Rounds
from dycoke_cli import VideoSession, load
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.models.catalog import published_names
from dycoke_cli.models.load import LoadedModel

# Of more frames only those come on who set the mark: attention weights take too much memory, and
# the others more time than their figures are worth.
MOST_FOR_ALL = 8
# Frames that are encoded for the language model alone, which then reads them again and again.
ENCODED = 4
# Frames of the clip that warms everything up: the fewest that every contestant takes.
WARM_UP = 5


def takes_part(part: str, frames: int, *, int8: bool) -> tuple[Contestant, ...]:
    """The contestants of a heat."""
    if part == "gpu":
        return who.ON_GPU
    if part == "pruning":
        return who.MERGING_ALONE, who.TWO_BY_TWO[-1]
    if part == "language":
        return who.TWO_BY_TWO
    if part == "rules":
        return who.RULES
    found = (*who.TWO_BY_TWO, who.LINEAR_ALONE, who.BEFORE_VISION, *(who.IN_INT8 if int8 else ()))
    if frames > MOST_FOR_ALL:
        return found
    return (*found, who.SECOND_QUESTION, *((who.PLAIN_INT8,) if int8 else ()), *who.WITH_WEIGHTS)


class Course:
    """The models, and how a heat is run on them.

    Args:
        options: of `load`, beside the dtype, the kernels and 8 bits.
    """

    def __init__(
        self,
        model: str,
        journal: Journal,
        tokens: int,
        where: str,
        dtype: str,
        **options: Any,
    ) -> None:
        self._name, self._journal, self._tokens = model, journal, tokens
        self._loaded: dict[tuple[str, str | None], LoadedModel] = {}
        self._where, self._dtype, self._options = where, dtype, options
        self._warm: set[tuple[Contestant, int]] = set()

    def run(self, part: str, frames: int, rounds: int, *, int8: bool) -> Rounds:
        """All rounds of a heat, in turn; those that were measured before are taken as they are."""
        heat, given = self.heat(part, frames), takes_part(part, frames, int8=int8)
        sessions: dict[int, VideoSession] = {}
        for number in range(rounds):
            for contestant in given:
                over = number > 0 and contestant.once
                if over or len(self._journal.rounds(heat, contestant)) > number:
                    continue
                # An accelerator sets itself up for the shapes that it meets: its caches are filled
                # with the very answer that is measured. A CPU needs no more than a short one.
                if part == "gpu":
                    loaded = self._model(contestant, frames, self._tokens)
                else:
                    loaded = self._model(contestant, WARM_UP, 2)
                if part in ("language", "pruning"):
                    if id(loaded) not in sessions:
                        sessions[id(loaded)] = self._encoded(loaded, frames)
                    measured = language(sessions[id(loaded)], contestant, self._tokens)
                else:
                    measured = whole(loaded, frames, contestant, self._tokens)
                self._journal.add(heat, contestant, measured)
                _say(
                    f"{part}, {frames} frames, round {number + 1}, {contestant.name}: "
                    f"{measured.total:.1f} s"
                )
        return {one.name: self._journal.rounds(heat, one)[:rounds] for one in given}

    def done(self, part: str, frames: int, rounds: int, *, int8: bool) -> Rounds | None:
        """All rounds of a heat, where all were measured before; None where one is missing."""
        heat, given = self.heat(part, frames), takes_part(part, frames, int8=int8)
        found = {one.name: self._journal.rounds(heat, one)[:rounds] for one in given}
        enough = (len(found[one.name]) >= (1 if one.once else rounds) for one in given)
        return found if all(enough) else None

    def lines(self, part: str, frames: int, rounds: int, *, int8: bool) -> list[dict[str, Any]]:
        """Those of the journal that `run` returns."""
        heat = self.heat(part, frames)
        given = takes_part(part, frames, int8=int8)
        return [line for one in given for line in self._journal.lines(heat, one)[:rounds]]

    def heat(self, part: str, frames: int) -> Heat:
        """What is measured of so many frames, and where."""
        return Heat(self._name, part, frames, self._tokens, self._where, self._dtype)

    def _model(self, contestant: Contestant, frames: int, tokens: int) -> LoadedModel:
        kernels = "fast" if contestant.attention == "fast" else "stock"
        key = kernels, "int8" if contestant.int8 else None
        if key not in self._loaded:
            random = self._name in published_names()
            self._loaded[key] = load(
                self._name,
                random_weights=random,
                dtype=self._dtype,
                kernels=kernels,
                quantize=key[1],
                **self._options,
            )
        loaded = self._loaded[key]
        if (contestant, frames) not in self._warm:
            # Whoever comes first would pay for what is set up but once.
            whole(loaded, frames, contestant, tokens)
            self._warm.add((contestant, frames))
        return loaded

    def _encoded(self, loaded: LoadedModel, frames: int) -> VideoSession:
        _say(f"encoding {frames} frames")
        session = VideoSession(loaded, drawn(frames, ENCODED), reuse=False)
        session.encode(Stopwatch(loaded.input_device), BASELINE)
        return session


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)
