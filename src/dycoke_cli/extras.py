"""Optional dependencies (the extras of pyproject.toml) and the commands that install them.

The command matches the installer of this environment, which is detected: pip, pipx or uv.
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

PURPOSES = {
    "big": "--device-map auto, and --quantize int4",
    "eval": "benchmarks in Parquet, and `dycoke convert` to it",
    "judge": "--judge-model",
    "mcp": "`dycoke mcp`",
    "perception": "models of PerceptionLM",
    "plot": "--plot",
    "ray": "--engine ray",
    "schema": "--schema, and --fields with types",
    "serve": "`dycoke serve`",
    "server": "--server",
    "smolvlm": "models of SmolVLM",
}
"""What each extra for users is for."""

_CHECKOUT = Path(__file__).parents[2]


def how_to_install(extra: str) -> str:
    """Shell command that installs the packages of an extra into this environment."""
    packages = _requirements_by_extra().get(extra)
    if packages is None:  # sources on PYTHONPATH have no metadata: install the checkout with it
        return _command([*_installer(), "--editable", f"{_CHECKOUT}[{extra}]"])
    if _made_by_pipx():  # by name, so that `pipx reinstall` brings them back
        return _command(["pipx", "inject", "dycoke-cli", *packages])
    if project := _uv_project():  # `uv pip` would install what the next `uv sync` removes
        return _command(["uv", "add", "--project", project, *packages])
    return _command([*_installer(), *packages])


def how_to_upgrade(package: str) -> str:
    """Shell command that installs the newest release of a package in this environment."""
    if project := _uv_project():
        return _command(["uv", "sync", "--project", project, "--upgrade-package", package])
    return _command([*_installer(), "--upgrade", package])


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


def _installer() -> list[str]:
    if _made_by_pipx():
        return ["pipx", "runpip", "dycoke-cli", "install"]
    if find_spec("pip") is None:  # uv makes environments without pip
        return ["uv", "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]


def _made_by_pipx() -> bool:
    return Path(sys.prefix, "pipx_metadata.json").exists()


def _uv_project() -> str | None:
    """Folder of the uv project that this environment belongs to."""
    # uv puts the environment, .venv, into the project's folder.
    folder = Path(sys.prefix).parent
    return str(folder) if (folder / "uv.lock").exists() and find_spec("pip") is None else None


def _command(words: Sequence[str]) -> str:
    if os.name == "nt":  # cmd has no single quotes, and an unquoted > (of >=) redirects
        return " ".join(f'"{word}"' if re.search(r"[^\w.:\\/-]", word) else word for word in words)
    return shlex.join(words)


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
