"""Fixtures: coded clips, each written once a session, and the real footage where it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.video.clips import REAL_VIDEOS, CodedClip, Recipe, write_coded

MakeClip = Callable[[Recipe], CodedClip]


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    folder = tmp_path_factory.mktemp("clips")
    made: dict[Recipe, CodedClip] = {}

    def make(recipe: Recipe) -> CodedClip:
        if recipe not in made:
            made[recipe] = write_coded(folder / f"clip{len(made)}{recipe.suffix}", recipe)
        return made[recipe]

    return make


@pytest.fixture
def real_video() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        path = REAL_VIDEOS / name
        if not path.exists():
            pytest.skip(f"the sample footage {name} isn't on this machine")
        return path

    return find
