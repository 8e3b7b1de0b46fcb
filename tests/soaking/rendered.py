"""A folder of rendered clips, for the soak and for the kills."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

from dycoke_cli.shapes.recording import Recording, write_clip
from training.world.random_scripts import draw_script

QUESTION = "How many objects are there?"
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


def make_clips(folder: Path, count: int) -> Path:
    """Make a folder of so many clips, or find it made."""
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with multiprocessing.get_context("spawn").Pool() as pool:
            numbers = range(min(count, _RENDERED))
            pool.starmap(_render, [(folder, number) for number in numbers], chunksize=8)
        for number in range(_RENDERED, count):
            os.link(folder / _name(number % _RENDERED), folder / _name(number))
        (folder / _DONE).touch()
    return folder


def _name(number: int) -> str:
    return f"clip{number}.webm" if number % 20 == 19 else f"clip{number}.mp4"


def _render(folder: Path, number: int) -> None:
    script = replace(draw_script([_SEED, number], "train"), seconds=2.0)
    # Most alike, so that there is something to answer together.
    how = _RECORDINGS[number % 4 if number % 10 == 0 else 0]
    write_clip(script, how, folder / _name(number))
