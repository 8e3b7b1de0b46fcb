"""Packages that only some features need: the extras of pyproject.toml."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version


def how_to_install(extra: str) -> str:
    """The command that installs an extra's packages beside this one, be it a wheel or a clone."""
    wanted = _listed().get(extra)
    command = [sys.executable, "-m", "pip", "install", *(wanted or [f"dycoke-cli[{extra}]"])]
    return shlex.join(command)


def installed_extras() -> dict[str, bool]:
    """The extras for users, and whether all packages of each are installed."""
    return {
        extra: all(_is_installed(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in packages)
        for extra, packages in _listed().items()
        if extra != "dev"
    }


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
