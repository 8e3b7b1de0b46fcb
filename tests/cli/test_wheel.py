"""The wheel: installed elsewhere, it answers with no network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.harness import PATIENCE_S
from tests.installs import copy_sources

pytestmark = [pytest.mark.slow, pytest.mark.extended]
LARGEST_BYTES = 20_000_000
NO_NETWORK = """
import socket

def refuse(*_):
    raise OSError("this test has no network")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


def pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy, so that no build folder is left in the tree.
    source = tmp_path_factory.mktemp("source")
    copy_sources(source)
    built = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", built, source)
    (path,) = built.glob("*.whl")
    return path


def test_what_is_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "dycoke_cli/py.typed",
        "dycoke_cli/tested.txt",
        "dycoke_cli/evaluation/datasets/shapes.jsonl.gz",
        "dycoke_cli/models/catalog.toml",
        "dycoke_cli/models/mini/checkpoint/model.safetensors",
        "dycoke_cli/models/mini/checkpoint/config.json",
        "dycoke_cli/models/mini/demo.mp4",
        "dycoke_cli/models/configurations/qwen3-vl-2b.json",
        "dycoke_cli/models/configurations/processors/qwen3-vl.json",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    # What makes the bundled model, its clips and its benchmark stays in `training/`.
    mini = [name for name in names if name.startswith("dycoke_cli/models/mini/")]
    assert [name for name in mini if name.endswith(".py")] == []
    assert not [name for name in names if not name.startswith("dycoke_cli")]
    assert wheel.stat().st_size < LARGEST_BYTES


def test_demo_elsewhere_with_no_network(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", site, wheel)
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import dycoke_cli; print(dycoke_cli.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
    done = subprocess.run(
        [sys.executable, str(site / "bin" / "dycoke"), "demo"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "visual tokens dropped" in done.stderr
