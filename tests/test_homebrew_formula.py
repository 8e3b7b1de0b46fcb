"""Homebrew's formula: what a release writes is of that release, and is Ruby."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.release import FORMULA, write_recipes

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_hash_and_the_name_of_the_source(tmp_path: Path) -> None:
    sdist = tmp_path / "dycoke_cli-1.2.3.tar.gz"
    sdist.write_bytes(b"sources")
    write_recipes(sdist)
    written = (tmp_path / FORMULA.name).read_text("utf-8")
    assert f'sha256 "{hashlib.sha256(b"sources").hexdigest()}"' in written
    assert 'd/dycoke-cli/dycoke_cli-1.2.3.tar.gz"' in written
    assert not re.search(r"@[A-Z]", written)


def test_what_a_shell_and_man_find() -> None:
    linked = set(re.findall(r'libexec/"(share/[^"]+)"', FORMULA.read_text("utf-8")))
    shared = PROJECT["tool"]["setuptools"]["data-files"].items()
    assert linked == {f"{at}/{Path(file).name}" for at, files in shared for file in files}


def test_it_is_ruby() -> None:
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("ruby isn't installed: apt-get install ruby")
    done = subprocess.run([ruby, "-wc", FORMULA], capture_output=True, text=True, check=False)
    assert done.stdout == "Syntax OK\n", done.stderr
