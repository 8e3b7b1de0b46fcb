"""A folder of clips for the soak: rendered ones, odd ones that can be read, and broken ones."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from dycoke_cli.shapes.recording import Recording, write_clip
from tests.soaking.broken import BROKEN
from tests.soaking.odd import ODD
from training.world.random_scripts import draw_script

_SEED = 77
# Now and then one of these, as they come from phones and from the web.
_RECORDINGS = (
    Recording(fps=4, side=96),
    Recording(fps=4, side=128),
    Recording(fps=4, side=96, turned=90),
    Recording(fps=6, side=96, uneven=True),
)
_DONE = ".done"
_RENDERED = 1000
"""Of more clips, the others are these again, under names of their own."""


@dataclass(frozen=True)
class Clips:
    """A folder of clips."""

    folder: Path  # with nothing else in it
    good: frozenset[str]  # names of those that can be read
    bad: frozenset[str]  # names of those that can't


def make_clips(folder: Path, count: int, broken: int) -> Clips:
    """Make a folder of clips, or find it made."""
    ways = list(BROKEN)
    bad = [f"{number:03}-{ways[number % len(ways)]}" for number in range(broken)]
    odd = list(ODD)[: max(0, count - broken)]
    plain = [_name(number) for number in range(count - broken - len(odd))]
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with multiprocessing.get_context("spawn").Pool() as pool:
            numbers = range(min(len(plain), _RENDERED))
            pool.starmap(_render, [(folder, number) for number in numbers], chunksize=8)
        for number in range(_RENDERED, len(plain)):
            os.link(folder / _name(number % _RENDERED), folder / _name(number))
        for name in odd:
            ODD[name](folder / name)
        for name in bad:
            BROKEN[name.partition("-")[2]](folder / name)
        (folder / _DONE).touch()
    return Clips(folder, frozenset(plain + odd), frozenset(bad))


def _name(number: int) -> str:
    return f"clip{number}.webm" if number % 20 == 19 else f"clip{number}.mp4"


def _render(folder: Path, number: int) -> None:
    script = replace(draw_script([_SEED, number], "train"), seconds=2.0)
    # Most alike, so that there is something to answer together.
    how = _RECORDINGS[number % 4 if number % 10 == 0 else 0]
    write_clip(script, how, folder / _name(number))
