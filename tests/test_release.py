"""A release waits for what somebody has to do; README.md's command is that of the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dycoke_cli.version import __version__
from tests.installs import PROJECT
from tests.release import not_ready, to_install

COMMENTED = "## Install\n<!-- From then on: $ pip install dycoke-cli -->\n"


def test_readme_installs_this_package_with_extras_that_it_has() -> None:
    _, text = to_install()
    requirement = Requirement(text)
    assert requirement.name == PROJECT["name"]
    assert requirement.extras <= {*PROJECT["optional-dependencies"]}
    assert not requirement.specifier or __version__ in requirement.specifier


@pytest.mark.parametrize(
    ("day", "readme", "missing"),
    [
        ("2026-11-28", "$ pip install dycoke-cli", []),
        ("unreleased", "$ pip install dycoke-cli", ["CHANGELOG.md has no date for "]),
        ("2026-11-28", COMMENTED, ["README.md has the command "]),
    ],
)
def test_what_a_release_waits_for(
    day: str, readme: str, missing: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "turns.txt").write_text("# no turns\n")
    (tmp_path / "CHANGELOG.md").write_text(
        f"## [{__version__}] - {day}\n\n## [0.1.0] - 2026-01-01\n"
    )
    (tmp_path / "README.md").write_text(readme)
    found = not_ready(tmp_path)
    assert [sentence.startswith(begin) for sentence, begin in zip(found, missing, strict=True)] == [
        True for _ in missing
    ]
