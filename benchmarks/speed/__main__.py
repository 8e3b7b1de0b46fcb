"""Times every way to answer in turn, in one process, and prints the medians.

`make bench` and `make bench-full` are lists of heats: a heat is a number of frames, answered from
frames to the last token ("whole") or by the language model alone ("language"), in some rounds:
`32x3` is 32 frames in three. Weights are random: time and memory are the same. What was measured is
kept in a file, so that a run goes on where it was broken off; what another commit or machine
measured doesn't count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.drawn import drawn
from benchmarks.page import ROOT, put, where
from benchmarks.speed import contestants as who
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.journal import Heat, Journal
from benchmarks.speed.measuring import language, whole
from benchmarks.speed.plots import write_plot
from benchmarks.speed.tables import OF_LANGUAGE, OF_PRUNING, STAGES, Rounds, table
from dycoke_cli import VideoSession, load
from dycoke_cli.engine.stopwatch import Stopwatch
from dycoke_cli.models.loading import LoadedModel
from dycoke_cli.models.published import published_names

PAGE, PICTURE = ROOT / "docs" / "speed.md", ROOT / "docs" / "speed.png"
# Of more frames only those come on who set the mark: attention weights take too much memory, and
# the others more time than their figures are worth.
MOST_FOR_ALL = 8
IN_README = 32
# Frames that are encoded for the language model alone, which then reads them again and again.
ENCODED = 4
# Frames of the clip that warms everything up: the fewest that every contestant takes.
WARM_UP = 5
console = Console(stderr=True)


def takes_part(part: str, frames: int, *, int8: bool) -> tuple[Contestant, ...]:
    """The contestants of a heat."""
    if part == "pruning":
        return who.MERGING_ALONE, who.TWO_BY_TWO[-1]
    if part == "language":
        return who.TWO_BY_TWO
    in_int8 = (who.SMALLEST,) if int8 else ()
    found = (*who.TWO_BY_TWO, who.LINEAR_ALONE, who.BEFORE_VISION, *in_int8)
    if frames > MOST_FOR_ALL:
        return found
    return (*found, who.SECOND_QUESTION, *((who.PLAIN_INT8,) if int8 else ()), *who.WITH_WEIGHTS)


class Course:
    """The models, and how a heat is run on them.

    Args:
        model: name of a published configuration.
        journal: gets what is measured.
        tokens: that an answer has.
    """

    def __init__(self, model: str, journal: Journal, tokens: int) -> None:
        self._name, self._journal, self._tokens = model, journal, tokens
        self._loaded: dict[tuple[str, str | None], LoadedModel] = {}
        self._where = where()
        self._warm: set[Contestant] = set()

    def run(self, part: str, frames: int, rounds: int, *, int8: bool) -> Rounds:
        """All rounds of a heat, in turn; those that were measured before are taken as they are."""
        heat = Heat(self._name, part, frames, self._tokens, self._where)
        given = takes_part(part, frames, int8=int8)
        sessions: dict[int, VideoSession] = {}
        for number in range(rounds):
            for contestant in given:
                over = number > 0 and contestant.once
                if over or len(self._journal.rounds(heat, contestant)) > number:
                    continue
                loaded = self._model(contestant)
                if part != "whole":
                    if id(loaded) not in sessions:
                        sessions[id(loaded)] = self._encoded(loaded, frames)
                    measured = language(sessions[id(loaded)], contestant, self._tokens)
                else:
                    measured = whole(loaded, frames, contestant, self._tokens)
                self._journal.add(heat, contestant, measured)
                console.print(
                    f"{part}, {frames} frames, round {number + 1}, {contestant.name}: "
                    f"{measured.total:.1f} s"
                )
        return {one.name: self._journal.rounds(heat, one)[:rounds] for one in given}

    def page(self, title: str, stages: Sequence[str], heats: Mapping[int, Rounds]) -> str:
        """The tables of some heats, and how they were measured.

        Args:
            title: of a table, for its number of frames.
            stages: its columns.
            heats: by their numbers of frames.
        """
        tables, few = [], {}
        for count, heat in heats.items():
            rounds = max(map(len, heat.values()))
            counted = f"{rounds} rounds" if rounds > 1 else "one round"
            tables.append(table(f"{title.format(count)}, {counted}", heat, stages))
            few |= {name: None for name, found in heat.items() if len(found) < rounds}
        once = f" (one round of {'; '.join(few)})" if few else ""
        weights = "random" if self._name in published_names() else "its own"
        said = (
            f"`{self._name}`, {weights} weights, {self._tokens} new tokens, medians of rounds in "
            f"turn in one process{once}. {self._where}"
        )
        return "\n\n".join([*tables, said])

    def _model(self, contestant: Contestant) -> LoadedModel:
        kernels = "fast" if contestant.attention == "fast" else "stock"
        key = kernels, "int8" if contestant.int8 else None
        if key not in self._loaded:
            random = self._name in published_names()
            self._loaded[key] = load(
                self._name, random_weights=random, kernels=kernels, quantize=key[1]
            )
        loaded = self._loaded[key]
        if contestant not in self._warm:
            # Whoever comes first would pay for what is set up but once.
            whole(loaded, WARM_UP, contestant, 2)
            self._warm.add(contestant)
        return loaded

    def _encoded(self, loaded: LoadedModel, frames: int) -> VideoSession:
        console.print(f"encoding {frames} frames")
        session = VideoSession(loaded, drawn(frames, ENCODED), reuse=False)
        session.encode(Stopwatch(loaded.input_device), who.NONE)
        return session


def main(
    model: Annotated[str, typer.Option(help="A published configuration, or a model.")] = (
        "llava-onevision-0.5b"
    ),
    frames: Annotated[
        list[str] | None, typer.Option(help="Whole answers to so many, x rounds; repeat it.")
    ] = None,
    language_frames: Annotated[
        list[str] | None, typer.Option("--language", help="The language model alone; repeat it.")
    ] = None,
    pruning_frames: Annotated[
        list[str] | None,
        typer.Option("--pruning", help="Decode pruning or not, after TTM; repeat it."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Of an answer.")] = 32,
    int8: Annotated[bool, typer.Option(help="Quantized models, too.")] = True,
    journal: Annotated[Path, typer.Option(help="Gets what is measured.")] = (
        ROOT / "runs" / "speed.jsonl"
    ),
    write: Annotated[bool, typer.Option("--write", help="Into docs/.")] = False,
) -> None:
    """Measure, and print a table a heat."""
    # All of them first: a slip in the last one shouldn't show when the others have run.
    wanted = {
        part: [_heat(text) for text in texts or []]
        for part, texts in (
            ("whole", frames),
            ("language", language_frames),
            ("pruning", pruning_frames),
        )
    }
    course = Course(model, Journal(journal), tokens)
    of_whole, of_language, of_pruning = (
        {count: course.run(part, count, rounds, int8=int8) for count, rounds in heats}
        for part, heats in wanted.items()
    )
    for name, title, stages, heats in (
        ("speed", "{} frames", tuple(STAGES), of_whole),
        ("language", "{} frames, language model alone", OF_LANGUAGE, of_language),
        (f"pruning {model}", "{} frames", OF_PRUNING, of_pruning),
    ):
        if heats:
            text = course.page(title, stages, heats)
            print(text)
            if write:
                put(text, name, PAGE)
    if write and IN_README in of_whole:
        in_readme = {IN_README: of_whole[IN_README]}
        put(course.page("{} frames", tuple(STAGES), in_readme), "speed", ROOT / "README.md")
    if write and len(of_whole) > 1:
        write_plot(of_whole, PICTURE)


def _heat(text: str) -> tuple[int, int]:
    """Frames and rounds of "32x3"."""
    frames, _, rounds = text.partition("x")
    if not (frames.isdigit() and rounds.isdigit() and int(frames) and int(rounds)):
        raise typer.BadParameter(f"{text!r} isn't frames x rounds, as 32x3")
    return int(frames), int(rounds)


if __name__ == "__main__":
    typer.run(main)
