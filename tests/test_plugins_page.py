"""The plug-ins of docs/reference.md, as they stand there: as files, and as a package."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dycoke_cli import Sampling, VideoSession, read
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from tests.cli.harness import CLIP, REAL, Outcome, run_fresh, run_process
from tests.families.sessions import bundled
from tests.imports import python_path
from tests.pages import files_shown, section

pytestmark = pytest.mark.slow

PAGE = section("reference.md", "Plug-ins")
FILES = files_shown(PAGE)
# The bundled model's weights as a checkpoint of the page's family.
STORE = """
import sys
from my_vl import MyConfig, MyModel
from transformers import LlavaOnevisionForConditionalGeneration
bundled = LlavaOnevisionForConditionalGeneration.from_pretrained(sys.argv[1])
model = MyModel(MyConfig(**{**bundled.config.to_dict(), "model_type": "my_vl"})).to(bundled.dtype)
model.load_state_dict(bundled.state_dict())
model.save_pretrained(sys.argv[2])
"""
QUESTION = "What does the blue star do?"


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DYCOKE_PLUGINS", raising=False)


def put(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_text(FILES[name], encoding="utf-8")
    return path


def dycoke(*arguments: str | Path, **environment: str | Path) -> Outcome:
    """In a process that imports the package itself, for plug-ins are read when registries are."""
    given = {name: str(it) for name, it in environment.items()}
    return run_process(REAL, *arguments, fresh=True, **given)


def answered(*arguments: str | Path, **environment: str | Path) -> Any:
    outcome = dycoke(*arguments, **environment)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.object


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package was installed from its wheel, without a network."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    put("pyproject.toml", source)
    path = put("stride.py", source)
    path.write_text(path.read_text().replace('\n\nMETHODS = {"stride": Stride}\n', ""))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    for arguments in (
        ["wheel", *offline, "--no-build-isolation", "-w", wheels, source],
        ["install", *offline, "--target", site, wheels / "dycoke_stride-0.1.0-py3-none-any.whl"],
    ):
        done = run_fresh(*pip, *arguments)
        assert done.code == 0, done.err
    return site


@pytest.mark.extended
def test_the_row_that_the_page_ends_in(tmp_path: Path) -> None:
    command = re.search(r"^\$ dycoke (eval shapes .*) --limit \d+$", PAGE, re.MULTILINE)
    words = [*command[1].split(), "--limit", "1", "--frames", "8", "--quiet"]
    outcome = dycoke(*words, "--out", tmp_path / "run", DYCOKE_PLUGINS=put("stride.py", tmp_path))
    assert outcome.code == 0, outcome.err
    # Of so few questions the figures are others; the page's table is that of this command.
    heading, *rows = [line.split() for line in PAGE.splitlines() if re.match(r"[#123]  \w", line)]
    lines = [line.split() for line in outcome.out.splitlines()]
    assert heading in lines
    assert [row[1] for row in rows] == [line[1] for line in lines[lines.index(heading) + 2 :][:3]]


@pytest.mark.extended
def test_an_installed_method_has_all_that_bundled_ones_have(site: Path, tmp_path: Path) -> None:
    path = {"PYTHONPATH": python_path(site)}
    page = dycoke("methods", "stride", **path).out
    assert "Frames per frame kept. Range: 1 or more. Default: 4." in page
    assert "Plug-in: dycoke-stride 0.1.0 " in page
    refused = dycoke("ask", CLIP, QUESTION, "--method", "stride:stride=0", **path)
    assert (refused.code, refused.err) == (
        2,
        "Error: --method stride:stride=0: stride must be 1 or more, not 0\n",
    )

    answer = answered(
        "ask", CLIP, QUESTION, "--method", "stride:stride=2", "--json", "--quiet", **path
    )
    assert answer["method"].items() >= {"name": "stride", "stride": 2}.items()
    assert answer["method"]["plugin"].startswith("dycoke-stride 0.1.0 ")
    assert 2 * answer["tokens"]["visual_kept"] == answer["tokens"]["visual"]
    schema = json.loads(dycoke("schema", "answer", **path).out)
    Draft202012Validator(schema).validate(answer)

    rows = answered(
        "eval", "shapes", "--limit", "2", "--methods", "none,stride:stride=8", "--workers", "2",
        "--out", tmp_path / "run", "--frames", "8", "--json", "--quiet", **path
    )["rows"]  # fmt: skip
    assert [row["spec"] for row in rows] == ["none", "stride:stride=8"]
    assert rows[1]["kept_before_llm"] == 1 / 8
    # Its tables need neither the package nor the model.
    again = answered("eval", "report", tmp_path / "run", "--json", "--quiet")
    assert [row["spec"] for row in again["rows"]] == ["none", "stride:stride=8"]


def test_a_method_of_a_file_is_called_on_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("stride.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    method = importlib.import_module("stride").Stride(stride=4)
    clip = read(CLIP, Sampling(frames=8))
    answer = VideoSession(bundled(), clip).ask(QUESTION, method)
    assert answer.tokens.visual_kept * 4 == answer.tokens.visual
    monkeypatch.delitem(sys.modules, "stride")


def test_a_benchmark(tmp_path: Path) -> None:
    file, data = put("yesno.py", tmp_path), tmp_path / "data"
    data.mkdir()
    shutil.copy(CLIP, data)
    (data / "yesno.csv").write_text(
        "video,question,answer\nmove,Does the blue star move up?,yes\nmove,What is it?,no\n"
    )
    asked, plugin = ["eval", "yesno", "--data", data, "--json", "--quiet"], {"DYCOKE_PLUGINS": file}
    assert "\nyesno " in dycoke("eval", "--list", **plugin).out
    report = answered(*asked, "--methods", "none", "--frames", "4", **plugin)
    assert report["benchmark"] == "yesno"
    assert "yesno.py " in report["edition"]
    assert report["rows"][0]["questions"] == 2


@pytest.mark.extended
def test_a_family(tmp_path: Path) -> None:
    file, model = put("my_vl.py", tmp_path), tmp_path / "model"
    shutil.copytree(BUNDLED_CHECKPOINT, model)
    path = python_path(tmp_path)
    store = run_fresh(sys.executable, "-c", STORE, BUNDLED_CHECKPOINT, model, PYTHONPATH=path)
    assert store.code == 0, store.err
    ask = ["ask", CLIP, QUESTION, "--frames", "8", "--json", "--quiet"]
    refused = dycoke(*ask, "--model", model)
    assert refused.code == 4
    assert "'my_vl'" in refused.object["error"]["message"]
    bundled, own = answered(*ask), answered(*ask, "--model", model, DYCOKE_PLUGINS=file)
    assert own["answer"] == bundled["answer"]
    assert own["tokens"]["visual_kept"] == bundled["tokens"]["visual_kept"]
