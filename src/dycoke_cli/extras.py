"""Optional dependencies (the extras of pyproject.toml) and the commands that install them."""

from __future__ import annotations

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
