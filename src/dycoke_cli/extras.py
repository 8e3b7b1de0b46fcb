"""Optional dependencies (the extras of pyproject.toml) and the commands that install them."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from dycoke_cli.errors import ModelError

PURPOSES = {
    "big": "--device-map auto, and --quantize int4",
    "eval": "benchmarks in Parquet, and `dycoke convert` to it",
    "judge": "--judge-model",
    "mcp": "`dycoke mcp`",
    "perception": "models of PerceptionLM",
    "ray": "--engine ray",
    "schema": "--schema",
    "serve": "`dycoke serve`",
    "server": "--server",
    "smolvlm": "models of SmolVLM",
}
"""What each extra for users is for."""


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
    """Extras for users (not `dev`), and whether all packages of each are installed."""
    # Of an older checkout, the metadata has extras that are gone.
    return {
        extra: all(_is_installed(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in packages)
        for extra, packages in _requirements_by_extra().items()
        if extra in PURPOSES
    }


def _requirements_by_extra() -> dict[str, list[str]]:
    """Requirements of each extra; empty if only the sources are on PYTHONPATH."""
    requirements: dict[str, list[str]] = {}
    with suppress(PackageNotFoundError):
        for text in requires("dycoke-cli") or []:
            if extra := re.search(r"""extra == ['"]([\w-]+)['"]""", text):
                requirements.setdefault(extra[1], []).append(text.partition(";")[0].strip())
    return requirements


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
