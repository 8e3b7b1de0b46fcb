"""Packages that only some features need (the extras of pyproject.toml), and how to install them.

What is installed tells how it was: by pip, by pipx, or by uv, whose environments have no pip.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from dycoke_cli.errors import ModelError

_CHECKOUT = Path(__file__).parents[2]


def how_to_install(extra: str) -> str:
    """The command that installs an extra's packages beside this one, be it a wheel or a clone."""
    packages = _listed().get(extra)
    if packages is None:  # sources on PYTHONPATH, of which nobody knows what they need
        return _command([*_installer(), "--editable", f"{_CHECKOUT}[{extra}]"])
    if _made_by_pipx():  # by name, so that `pipx reinstall` brings them back
        return _command(["pipx", "inject", "dycoke-cli", *packages])
    if project := _uv_project():  # `uv pip` would install what the next `uv sync` removes
        return _command(["uv", "add", "--project", project, *packages])
    return _command([*_installer(), *packages])


def how_to_upgrade(package: str) -> str:
    """The command that installs the newest release of a package in this environment."""
    if project := _uv_project():
        return _command(["uv", "sync", "--project", project, "--upgrade-package", package])
    return _command([*_installer(), "--upgrade", package])


def need(package: str, extra: str, what: str) -> None:
    """Check that a package can be imported.

    Args:
        package: to import.
        extra: of ours, that installs it.
        what: needs it: a model or a flag.

    Raises:
        ModelError: it can't.
    """
    if find_spec(package) is None:
        raise ModelError(
            f"{what} needs the package {package}, which isn't installed: {how_to_install(extra)}"
        )


def installed_extras() -> dict[str, bool]:
    """The extras for users, and whether all packages of each are installed."""
    return {
        extra: all(_is_installed(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in packages)
        for extra, packages in _listed().items()
        if extra != "dev"
    }


def _installer() -> list[str]:
    if _made_by_pipx():
        return ["pipx", "runpip", "dycoke-cli", "install"]
    if find_spec("pip") is None:
        return ["uv", "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]


def _made_by_pipx() -> bool:
    return Path(sys.prefix, "pipx_metadata.json").exists()


def _uv_project() -> str | None:
    """The folder of the project of uv whose environment this is."""
    folder = Path(sys.prefix).parent
    return str(folder) if (folder / "uv.lock").exists() and find_spec("pip") is None else None


def _command(words: Sequence[str]) -> str:
    if os.name == "nt":  # its shells know no single quotes, and > redirects
        return " ".join(f'"{word}"' if re.search(r"[^\w.:\\/-]", word) else word for word in words)
    return shlex.join(words)


def _listed() -> dict[str, list[str]]:
    """The requirements of each extra; empty of a folder of sources on PYTHONPATH."""
    found: dict[str, list[str]] = {}
    with suppress(PackageNotFoundError):
        for text in requires("dycoke-cli") or []:
            if named := re.search(r"""extra == ['"]([\w-]+)['"]""", text):
                found.setdefault(named[1], []).append(text.partition(";")[0].strip())
    return found


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
