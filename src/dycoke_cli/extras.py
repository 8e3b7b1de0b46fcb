"""Optional dependencies (the extras of pyproject.toml) and the commands that install them."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from dycoke_cli.errors import ModelError


def how_to_install(extra: str) -> str:
    """Shell command that installs the packages of an extra."""
    return f'pip install "dycoke-cli[{extra}]"'


def how_to_upgrade(package: str) -> str:
    """Shell command that installs the newest release of a package."""
    return f"pip install --upgrade {package}"


def need(package: str, extra: str, what: str) -> None:
    """Check that a package can be imported."""
    if find_spec(package) is None:
        raise ModelError(
            f"{what} needs the package {package}, which isn't installed: {how_to_install(extra)}"
        )


def installed_extras() -> dict[str, bool]:
    """Extras for users (not `dev`), and whether all packages of each are installed.

    Empty if only the sources are on PYTHONPATH.
    """
    installed: dict[str, bool] = {}
    with suppress(PackageNotFoundError):
        for text in requires("dycoke-cli") or []:
            package, extra = re.match(r"[\w.-]+", text), re.search(r"extra == ['\"]([\w-]+)", text)
            if package and extra and extra[1] != "dev":
                is_here = _is_installed(package[0])
                installed[extra[1]] = is_here and installed.get(extra[1], True)
    return installed


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
