"""A new user's commands, from `pull` on, about models in the layout in which they are published."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from dycoke_cli.models.catalog import CATALOG, published
from tests.cli.harness import CLIP, ROOT, Outcome
from tests.hub import Hub, Repo
from tests.rehearsal.checkpoints import (
    PUBLISHED,
    RECIPES,
    STORED,
    files,
    model_of,
    repository,
)
from tests.rehearsal.steps import Place, Step, failure, steps

# They take minutes where many are at work: one of the models has them.
LONG = ("verify", "ask without a method", "offline")
ONCE = ("batch", "eval")


def place_of(name: str, folder: Path) -> Place:
    content = files(name)
    # Both ways in which the hub's storage sends a file.
    repo = Repo(content, stored=STORED, xet=name != "smolvlm2-500m")
    place = Place(name, folder, repo)
    place.clips.mkdir()
    shutil.copy(CLIP, place.clips)
    return place


def faults(place: Place, left_out: tuple[str, ...]) -> list[str]:
    """What isn't as it should be; commands in a row that have one environment share a process."""
    found: list[str] = []
    todo = [step for step in steps(place) if step.name not in left_out]
    with Hub({repository(place.name): place.repo}) as hub:
        own = {**hub.environment(place.folder / "home"), **place.environment()}
        # What a download leaves is looked at before the next command.
        for _, group in groupby(todo, lambda step: (step.name == "pull", step.environment)):
            found += _together(list(group), own)
        assert not hub.leaked
        # What is here whole is asked for no more: but for the list of files, nothing of `main`.
        assert not [path for path in hub.asked if "/resolve/main/" in path]
    return found


def _together(group: list[Step], environment: dict[str, str]) -> list[str]:
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.several", json.dumps([step.arguments for step in group])],
        capture_output=True,
        env={**os.environ, **environment, **path, **group[0].environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    left = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
    said = (failure(step, outcome) for step, outcome in zip(group, left, strict=True))
    return [fault for fault in said if fault is not None]


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_model_from_its_download_to_its_removal(name: str, tmp_path: Path) -> None:
    place = place_of(name, tmp_path)
    left_out: tuple[str, ...] = ()
    if name != "llava-onevision-0.5b":
        left_out += (*LONG, "without a hub")
    if name != "smolvlm2-500m":
        left_out += ONCE
    else:  # code beside a stock class is never run
        code = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"}
        place.repo.files["config.json"] = json.dumps(place.config | {"auto_map": code}).encode()
        place.repo.files["code.py"] = b"raise SystemExit('run')"
    assert faults(place, left_out) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_parameters_are_as_many_as_the_package_says(name: str) -> None:
    """The published config.json, in its old form, is read as the package's own of that model."""
    config = json.loads((PUBLISHED / name / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == CATALOG[name].family
    own = published(name).config
    theirs, ours = (
        {name: value.shape for name, value in model_of(one, "meta").named_parameters()}
        for one in (config, own)
    )
    assert theirs == ours
    assert own["dtype"] == (config.get("torch_dtype") or config["text_config"]["dtype"])
