"""The default model that a user chose: one small JSON file in the user's settings folder."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from dycoke_cli.errors import ModelError, OutputError

BUNDLED = "mini"
"""The model that answers until a default is chosen."""

ENVIRONMENT = "DYCOKE_SETTINGS"
"""Names the settings file in place of the one in the user's settings folder."""


def settings_file() -> Path:
    """Where the settings are (the file need not exist)."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    import typer

    return Path(typer.get_app_dir("dycoke")) / "settings.json"


def default_model() -> str | None:
    """The model chosen with `dycoke models default`, or None where none was chosen.

    Raises:
        ModelError: the settings can't be read.
    """
    path = settings_file()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(_unreadable(path)) from error
    name = settings.get("default_model") if isinstance(settings, dict) else 0
    if name is None or (isinstance(name, str) and name):
        return name
    raise ModelError(_unreadable(path))


def choose_default_model(name: str) -> Path:
    """Remember `name` as the default model; returns the file that now says so.

    Raises:
        OutputError: the settings can't be written.
    """
    path = settings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside it and moved into place, so that a full disk never leaves half a file.
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            try:
                json.dump({"default_model": name}, file)
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror})") from error
    return path


def _unreadable(path: Path) -> str:
    return f"the settings in {path} can't be read; `dycoke models default NAME` writes them anew"
