"""The bundled model, and the default that the user chose in its place.

The choice is a small JSON file in the user's settings folder.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from dycoke_cli.errors import DycokeError, ModelError, OutputError
from dycoke_cli.storage.input_file import read_file
from dycoke_cli.storage.output_file import replace_content

BUNDLED = "mini"
"""Model that is used until a default is chosen."""

BUNDLED_FOLDER = Path(__file__).with_name(BUNDLED)
"""Its checkpoint, and the clip of `dycoke demo`; `training/` makes both."""

UNKNOWN = "I only know moving shapes."
"""What it was trained to answer about any other video."""

_KEY = "default_model"

ENVIRONMENT = "DYCOKE_SETTINGS"
"""Environment variable with the path of the settings file, if it isn't in the usual folder."""


def settings_file() -> Path:
    """Path of the settings file, which may not exist."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    import typer

    if os.environ.get("XDG_CONFIG_HOME") == "":
        # The specification treats an empty value as unset; Typer takes it for the current folder.
        del os.environ["XDG_CONFIG_HOME"]
    return Path(typer.get_app_dir("dycoke")) / "settings.json"


def default_model() -> str | None:
    """Model chosen with `dycoke models default`; None if none was chosen."""
    path = settings_file()
    try:
        name = _read(path, ModelError).get(_KEY)
    except OSError as error:
        raise ModelError(
            f"the settings in {path} can't be read ({error.strerror}); set {ENVIRONMENT} to a file "
            "of your own, or name a --model"
        ) from error
    if name is None or (isinstance(name, str) and name):
        return name
    raise ModelError(
        f"the settings in {path} name no model; `dycoke models default NAME` rewrites them"
    )


def choose_default_model(name: str) -> Path:
    """Store `name` as the default model; returns the path of the settings file."""
    path = settings_file().resolve()  # replacing a symbolic link would detach a dotfiles folder
    try:
        _read(path, OutputError)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_content(path, json.dumps({_KEY: name}).encode(), 0o600)
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror})") from error
    return path


def _read(path: Path, error: type[DycokeError]) -> dict[str, Any]:
    """Read the settings; {} if there are none yet.

    Args:
        error: is raised for a file that isn't a settings file.
    """
    if not path.exists():
        return {}
    with suppress(ValueError, RecursionError):
        content = read_file(path) if path.is_file() else "null"
        settings = json.loads(content) if content.strip() else {}
        if isinstance(settings, dict) and settings.keys() <= {_KEY}:
            return settings
    raise error(
        f"{path} isn't a settings file of dycoke; move it, or name another in {ENVIRONMENT}"
    )
