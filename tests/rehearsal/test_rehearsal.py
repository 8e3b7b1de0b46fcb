"""A new user's commands, from `pull` on, about models in the layout in which they are published."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dycoke_cli.models.catalog import CATALOG, published
from tests.cli.harness import CLIP, Outcome
from tests.hub import COMMIT, Hub, Repo
from tests.imports import python_path
from tests.rehearsal.checkpoints import PUBLISHED, RECIPES, STORED, files, model_of

READ = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""How the names of files end that loading reads."""
FEW = ("--frames", "4", "--max-tokens", "4")
ASK = ("ask", CLIP, "What does the blue star do?", *FEW, "--json")


def run(environment: dict[str, str], *commands: tuple[str | Path, ...]) -> list[Outcome]:
    """Commands in one process of their own; each ends well, and says nothing of its own insides."""
    told = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.several", told],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": python_path(), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    outcomes = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
    for words, one in zip(commands, outcomes, strict=True):
        assert one.code == 0, (words, one)
        # Python's warnings are named after their class; "Warning: " begins a sentence of ours.
        assert not re.search(r"Traceback|\wWarning\b", one.err), (words, one)
    return outcomes


def answered(run: Outcome, weights: int) -> str:
    """The answer, of as many tokens as random weights may write, and of an estimated model."""
    document = run.object
    assert document["tokens"]["generated"] == 4
    assert [one for one in document["warnings"] if "the answer was cut after" not in one] == []
    assert document["bytes"]["weights"] == weights
    return str(document["answer"])


def check_pulled(cache: Path, repo: Repo) -> None:
    """What is in the hub client's cache is what the hub has, all that loading reads and no more."""
    wanted = {file for file in repo.files if file.endswith(READ) and "/" not in file}
    (snapshot,) = cache.glob("models--*/snapshots/*")
    found = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    assert found == {file: repo.files[file] for file in wanted}
    assert not [*cache.rglob("*.incomplete")]


@pytest.mark.extended
@pytest.mark.parametrize("name", RECIPES)
def test_a_model_from_its_download_on(name: str, tmp_path: Path) -> None:
    # Both ways in which the hub's storage sends a file.
    repo = Repo(files(name), stored=STORED, xet=name != "smolvlm2-500m")
    config = json.loads(repo.files["config.json"])
    if name == "smolvlm2-500m":  # code beside a stock class is never run
        code = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"}
        repo.files["config.json"] = json.dumps(config | {"auto_map": code}).encode()
        repo.files["code.py"] = b"raise SystemExit('run')"
    entry = CATALOG[name].repo
    pull = ("models", "pull", name)
    with Hub({entry: repo}) as hub:
        own = {**hub.environment(tmp_path / "home"), "DYCOKE_MODEL": name}
        own["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        assert run(own, pull)[0].out == f"{COMMIT}\n"
        check_pulled(tmp_path / "home" / "hub", repo)
        again, listed, described, estimated, asked = run(
            own,
            (*pull, "--quiet"),
            ("models", "list", "--downloaded", "--json"),
            ("models", "info", name, "--json"),
            (*ASK, "--estimate"),
            ASK,
        )
        assert (again.out, again.err) == (f"{COMMIT}\n", "")
        assert [model["name"] for model in listed.object["models"]] == ["mini", name]
        (model,) = described.object["models"]
        assert (model["on_disk"]["complete"], model["family"]) == (True, config["model_type"])
        weights = estimated.object["bytes"]["weights"]
        answer = answered(asked, weights)
        # They take minutes where many are at work: one of the models has them.
        if name == "llava-onevision-0.5b":
            plain, verified = run(own, (*ASK, "--method", "none"), ("verify", name, *FEW[:2]))
            answered(plain, weights)
            assert verified.out.splitlines()[-1] == f"{name}: verified"
            for nowhere in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
                assert answered(run(own | nowhere, ASK)[0], weights) == answer
        if name == "smolvlm2-500m":
            (tmp_path / "clips").mkdir()
            shutil.copy(CLIP, tmp_path / "clips")
            methods = ("--methods", "none,dycoke", "--limit", "1", *FEW, "--json")
            line, table = run(
                own, ("batch", tmp_path / "clips", *ASK[2:-1]), ("eval", "shapes", *methods)
            )
            assert "answer" in line.object
            assert [row["method"] for row in table.object["rows"]] == ["none", "dycoke"]
        assert not hub.leaked
        # What is here whole is asked for no more: but for the list of files, nothing of `main`.
        assert not [path for path in hub.asked if "/resolve/main/" in path]


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
