"""The bundled model without the word of its checkpoint that it only knows moving shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT


def unlimited_model(folder: Path) -> Path:
    """A copy of it, to which every question is put, whatever its words."""
    shutil.copytree(BUNDLED_CHECKPOINT, folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["dycoke"]["domain"]
    file.write_text(json.dumps(config))
    return folder
