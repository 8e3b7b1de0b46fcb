"""Finds a model by catalog name, folder or hub id; needs no torch, and downloads nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.errors import ModelError, did_you_mean
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, CATALOG, Entry
from dycoke_cli.models.files.weight_files import NOT_GGUF, check_folder

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelRef:
    """Reference to a model: its name and the location of its files."""

    name: str  # for reports and errors
    location: str  # a local folder, or a hub id
    entry: Entry | None  # of the catalog, or None
    local: bool  # whether `location` is a folder


def find(name: str) -> ModelRef:
    """Find a model by catalog name, folder or hub id; nothing is downloaded."""
    # A catalog name wins over a folder of that name, so that a folder `mini` in the current one
    # doesn't change the meaning of a script. `./mini` is always the folder.
    entry = CATALOG.get(name)
    if entry is not None:
        location = str(BUNDLED_CHECKPOINT) if entry.repo is None else entry.repo
        return ModelRef(name, location, entry, local=entry.repo is None)
    if os.path.isdir(name):
        check_folder(Path(name))
        return ModelRef(name, name, None, local=True)
    if os.path.exists(name) and name.lower().endswith(".gguf"):
        raise ModelError(f"{name!r} is a file, {NOT_GGUF}")
    if os.path.exists(name):
        raise ModelError(f"{name!r} is a file; give the folder that holds the model")
    if "://" in name:
        raise ModelError(
            f"{name!r} is an address; give the model's hub id (--model OWNER/NAME) or a folder"
        )
    # "./model" and "../model" look like hub ids, but are misspelt folders.
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return ModelRef(name, name, None, local=False)
    repo, has_revision, revision = name.partition("@")
    if has_revision and _HUB_ID.fullmatch(repo):
        raise ModelError(
            f"{name!r} isn't a hub id; give its revision by a flag: --model {repo} --revision "
            f"{revision or 'main'}"
        )
    hint = did_you_mean(name, CATALOG, "`dycoke models` lists all names")
    raise ModelError(f"there is no model {name!r} and no such folder; {hint}")
