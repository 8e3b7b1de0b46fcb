"""The default model that a user chose: one small JSON file in the user's settings folder."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from dycoke_cli.errors import ModelError, OutputError

BUNDLED = "mini"
"""The model that answers until a default is chosen."""

_KEY = "default_model"

ENVIRONMENT = "DYCOKE_SETTINGS"
"""Names the settings file in place of the one in the user's settings folder."""


def settings_file() -> Path:
    """Where the settings are (the file need not exist)."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    import typer

    if os.environ.get("XDG_CONFIG_HOME") == "":
        del os.environ["XDG_CONFIG_HOME"]  # which Typer would take for the current folder
    return Path(typer.get_app_dir("dycoke")) / "settings.json"


def default_model() -> str | None:
    """The model chosen with `dycoke models default`, or None where none was chosen.

    Raises:
        ModelError: the settings can't be read.
    """
    path = settings_file()
    try:
        settings = _read(path)
    except OSError as error:
        raise ModelError(f"the settings in {path} can't be read ({error.strerror})") from error
    if settings is None:
        raise ModelError(_foreign(path))
    name = settings.get(_KEY)
    if name is None or (isinstance(name, str) and name):
        return name
    raise ModelError(
        f"the settings in {path} name no model; `dycoke models default NAME` rewrites them"
    )


def choose_default_model(name: str) -> Path:
    """Remember `name` as the default model; returns the file that now says so.

    Raises:
        OutputError: the settings can't be written, or what is there is something else.
    """
    path = settings_file().resolve()  # a link stays one
    try:
        if _read(path) is None:
            raise OutputError(_foreign(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside it and moved into place, so that a full disk never leaves half a file.
        handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({_KEY: name}, file)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror})") from error
    return path


def _read(path: Path) -> dict[str, Any] | None:
    """The settings, {} where there are none yet; None of a file that is something else.

    Raises:
        OSError: it can't be read.
    """
    if not path.exists():
        return {}
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        settings = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) and settings.keys() <= {_KEY} else None


def _foreign(path: Path) -> str:
    return f"{path} isn't a settings file of dycoke; move it, or name another in {ENVIRONMENT}"
