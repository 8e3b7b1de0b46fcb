"""The version of the package, and the commit where it runs from a checkout."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.2.0"

_HERE = Path(__file__).parent


@cache
def program_key() -> tuple[str, ...]:
    """What cached results depend on besides their inputs: the package's code and its libraries.

    The code itself, because the version of a checkout stays while its code changes. A module calls
    this when it is imported: a file may be edited while the program runs.
    """
    from importlib.metadata import version

    code = hashlib.sha256()
    for path in sorted(_HERE.rglob("*.py")):
        code.update(b"%s\0%s\0" % (bytes(path.relative_to(_HERE)), path.read_bytes()))
    return code.hexdigest(), *map(version, ("torch", "transformers"))


def running_commit() -> str | None:
    """Such as "d5a0fa6", or "d5a0fa6-dirty" where the package was changed since.

    None where it isn't known. A changed page of documentation runs as before.
    """
    # A package that was installed below somebody's own repository isn't part of that repository.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git("describe", "--always", "--exclude=*")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain", "--", ".") else commit


def _git(*arguments: str) -> str | None:
    import subprocess  # which takes longer to import than all that needs the version alone

    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_HERE, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
