"""The rehearsal with few layers: the same repositories and commands, in a process for several."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from safetensors import safe_open

from dycoke_cli.models.catalog import CATALOG, published
from tests.cli.harness import CLIP, ROOT, Outcome
from tests.hub import Hub, Repo
from tests.rehearsal.checkpoints import (
    PUBLISHED,
    RECIPES,
    STORED,
    few_words,
    files,
    parameters,
    repository,
)
from tests.rehearsal.steps import QUESTION, Place, Step, failure, steps
from tests.rehearsal.vocabulary import from_tiktoken, letters, tokenizer_of
from tests.rehearsal.weights import Tensor, WeightFile

# They take minutes where many are at work; `python -m tests.rehearsal` has them all.
LONG = ("verify", "ask without a method", "offline")
ONCE = ("batch", "eval")


def place_of(name: str, folder: Path) -> Place:
    content = files(name, few_words(name), small=True)
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
    left_out = LONG
    if name != "llava-onevision-0.5b":
        left_out += ("without a hub", "gone")
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
    assert dict(parameters(config)) == dict(parameters(own))
    assert own["dtype"] == (config.get("torch_dtype") or config["text_config"]["dtype"])


def test_a_file_that_is_made_while_it_is_read(tmp_path: Path) -> None:
    norm, bias = Tensor("norm.weight", (3,), "BF16"), Tensor("norm.bias", (5,), "F32")
    made = WeightFile([norm, bias, Tensor("a.weight", (1500, 700), "F16")])
    whole = b"".join(made.read(0, made.size))
    assert (len(whole), hashlib.sha256(whole).hexdigest()) == (made.size, made.sha256)
    for start, end in ((0, 1), (7, 400), (1000, 2_097_000), (made.size - 3, made.size)):
        assert b"".join(made.read(start, end)) == whole[start:end]
    (tmp_path / "file.safetensors").write_bytes(whole)
    with safe_open(tmp_path / "file.safetensors", "pt") as stored:
        assert stored.get_tensor("norm.weight").tolist() == [1, 1, 1]
        assert stored.get_tensor("norm.bias").tolist() == [0] * 5
        drawn = stored.get_tensor("a.weight").float()
    assert drawn.std().item() == pytest.approx(0.02, rel=0.01)
    assert not drawn[0].equal(drawn[1])


def test_a_vocabulary_by_ranks_writes_as_one_by_merges() -> None:
    """Merges that are found in a list of ranks are those that it was made of."""
    own = few_words("qwen3-vl-2b")
    core = tokenizer_of(own, {}, qwen=True)
    byte = {letter: value for value, letter in letters().items()}
    lines = (
        base64.b64encode(bytes(byte[letter] for letter in token)) + f" {number}".encode()
        for token, number in own.ids.items()
    )
    found = from_tiktoken(b"\n".join(lines))
    assert (found.ids, found.merges) == (own.ids, own.merges)
    text = f"{QUESTION} It's 42 metres,\n\n  née naïve 語."
    again = tokenizer_of(found, {}, qwen=True)
    assert again.encode(text).ids == core.encode(text).ids
    assert again.decode(again.encode(text).ids) == text
