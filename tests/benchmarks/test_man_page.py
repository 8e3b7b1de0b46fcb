"""The manual page and the scripts of completion are what the code says, and are in the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest

from benchmarks import man_page
from dycoke_cli.cli.app import _COMMANDS
from tests.installs import ROOT


@pytest.mark.parametrize("name", man_page.texts())
def test_a_file_is_what_the_code_says(name: str) -> None:
    assert (man_page.SHARE / name).read_text("utf-8") == man_page.texts()[name], "run `make docs`"


def test_the_wheel_installs_each() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = project["tool"]["setuptools"]["data-files"].values()
    files = {f"src/dycoke_cli/share/{name}" for name in ("SKILL.md", *man_page.texts())}
    assert {name for names in folders for name in names} == files


def test_man_shows_every_command_and_has_nothing_to_complain_of() -> None:
    if (program := shutil.which("groff") or shutil.which("mandoc")) is None:
        pytest.skip("neither groff nor mandoc is installed")
    flags = ["-man", "-Kutf8", "-Tutf8", "-ww"] if program.endswith("groff") else ["-T", "utf8"]
    done = subprocess.run(
        [program, *flags, str(man_page.SHARE / "dycoke.1")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain = re.sub(r".\x08|\x1b\[\d+m", "", done.stdout)  # bold, as terminals and printers have it
    assert all(f"dycoke {name}" in plain for name in _COMMANDS)


@pytest.mark.parametrize("shell", man_page.COMPLETIONS)
def test_a_shell_reads_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")
    file = man_page.SHARE / man_page.COMPLETIONS[shell]
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
