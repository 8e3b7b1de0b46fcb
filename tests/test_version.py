"""The commit that stands beside what was measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dycoke_cli import version
from dycoke_cli.version import running_commit


def git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", *names, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_only_a_changed_package_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, page = tmp_path / "package", tmp_path / "page.md"
    package.mkdir()
    source = package / "__init__.py"
    monkeypatch.setattr(version, "_HERE", package)
    source.write_text("")
    page.write_text("")
    git(tmp_path, "init")
    assert running_commit() is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    made = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert running_commit() == made
    page.write_text("a table")
    assert running_commit() == made
    source.write_text("x = 1")
    assert running_commit() == f"{made}-dirty"
    source.write_text("")
    (package / "new.py").write_text("")
    assert running_commit() == f"{made}-dirty"
