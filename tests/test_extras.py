"""An extra is named with a command that installs it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from dycoke_cli import errors
from tests.pages import section

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_command_that_installs_an_extra(extra: str) -> None:
    *pip, what = shlex.split(errors.how_to_install(extra))
    assert (pip, what) == (["pip", "install"], f"{PROJECT['name']}[{extra}]")


def test_the_page_has_each_extra_with_the_releases_that_were_tested() -> None:
    root = Path(__file__).parents[1]
    page = section("models.md", "Extras")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    assert {*rows} == {*EXTRAS}
    tested = (root / "src" / "dycoke_cli" / "tested.txt").read_text(encoding="utf-8")
    for name, release in re.findall(r"([\w-]+) (\d[\d.]*\d)", " ".join(rows.values())):
        assert f"{name}=={release}\n" in tested or name == "vLLM"
