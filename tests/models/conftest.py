"""A checkpoint to break, and what is refused of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.load import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled checkpoint, to break."""
    return Path(shutil.copytree(BUNDLED_CHECKPOINT, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    """Change values of a JSON object in a file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def refused(folder: str | Path, sentence: str, by: Callable[[str], object] | None = None) -> None:
    """Check that a model is refused when it is loaded, or already when it is found."""
    with pytest.raises(ModelError, match=sentence):
        by(str(folder)) if by else load(str(folder), device="cpu")
