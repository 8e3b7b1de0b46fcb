"""README.md's command is that of the wheel."""

from __future__ import annotations

from packaging.requirements import Requirement

from dycoke_cli.version import __version__
from tests.installs import PROJECT
from tests.release import to_install


def test_readme_installs_this_package_with_extras_that_it_has() -> None:
    _, text = to_install()
    requirement = Requirement(text)
    assert requirement.name == PROJECT["name"]
    assert requirement.extras <= {*PROJECT["optional-dependencies"]}
    assert not requirement.specifier or __version__ in requirement.specifier
