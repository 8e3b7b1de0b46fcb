"""Plug-ins: methods, benchmarks and model families from other packages or from Python files.

A package declares them as entry points, a file as dictionaries by name:

    [project.entry-points."dycoke.methods"]          METHODS = {"stride": Stride}
    stride = "dycoke_stride:Stride"

Each registry adds the plug-ins of its kind when it is imported. Unusable plug-ins are skipped and
listed in `problems`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import cache
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, Literal

from dycoke_cli.errors import DycokeError, did_you_mean
from dycoke_cli.unicode import display_name
from dycoke_cli.version import program_key

Kind = Literal["method", "benchmark", "family"]
Check = Callable[[str, Any], None]

ENVIRONMENT = "DYCOKE_PLUGINS"
"""Environment variable with paths of files, separated as in PATH. Worker processes inherit it."""

_DICTIONARIES: dict[Kind, str] = {
    "method": "METHODS",
    "benchmark": "BENCHMARKS",
    "family": "FAMILIES",
}
"""Name of the dictionary in a file, by kind."""

problems: list[str] = []
"""What is wrong with each unusable plug-in, in order of discovery."""

_versions: dict[tuple[Kind, str], str] = {}
_homes: dict[str, str] = {}  # origin of each file that defines an object in use
_pending: deque[tuple[Kind, MutableMapping[str, Any], Check]] = deque()
_extending = False


class Unfit(Exception):
    """A plug-in's object can't be used; the message is the reason."""


@cache
def files() -> tuple[Path, ...]:
    """Plug-in files that the environment names."""
    named = os.environ.get(ENVIRONMENT, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(os.path.abspath(path)) for path in named if path))


@cache
def running_code() -> str:
    """Identity of the code that runs: the program, its folder, and the plug-ins."""
    here = Path(__file__).resolve().parents[1]
    return f"{' '.join(program_key())} {here} {os.environ.get(ENVIRONMENT, '')}"


def offered() -> bool:
    """Whether any plug-in is declared, usable or not; imports none."""
    groups = (f"dycoke.{name.lower()}" for name in _DICTIONARIES.values())
    return bool(files()) or any(_installed().select(group=group) for group in groups)


def version(kind: Kind, name: str) -> str | None:
    """Version of a plug-in's code, for keys of answers; None for a bundled object.

    It consists of the package with its version, or the file's name, and a hash of the defining
    file: an edited file gives new keys although its version is the same.
    """
    return _versions.get((kind, name))


def place_of(error: BaseException) -> str | None:
    """Plug-in, function, file and line that an error came from; None if no plug-in was running."""
    for at in reversed(extract_tb(error.__traceback__)):
        if (origin := _homes.get(at.filename)) is not None:
            return f"{at.name} of the plug-in {origin} ({at.filename}, line {at.lineno})"
    return None


def hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """End of an error about an unknown name, which a plug-in that isn't used may have."""
    return "; ".join([did_you_mean(name, known, otherwise), *problems])


def extend(kind: Kind, registry: MutableMapping[str, Any], check: Check) -> None:
    """Add the plug-ins' objects to a registry; existing names are never replaced.

    Args:
        check: called with the name and the object; raises `Unfit` (or anything else) to reject it.
    """
    global _extending
    _pending.append((kind, registry, check))
    # A plug-in that is being imported may import another registry, which calls this function again.
    # The outer call then extends that registry after the import is complete.
    if _extending:
        return
    _extending = True
    try:
        while _pending:
            _extend(*_pending.popleft())
    finally:
        _extending = False


def _extend(kind: Kind, registry: MutableMapping[str, Any], check: Check) -> None:
    for name, origin, target, module in _offers(kind):
        try:
            if name in registry:
                raise Unfit(f"the name is taken by {version(kind, name) or 'one of dycoke'}")
            if module is None:
                target, module = target.load(), sys.modules[target.module]
            check(name, target)
        except (Exception, SystemExit) as error:
            _note(origin, f"the {kind} {name!r} isn't used: {_reason(error)}")
        else:
            registry[name] = target
            # A class may be defined in another module than the one that offers it.
            home = sys.modules[target.__module__] if isinstance(target, type) else module
            path = home.__file__ or ""
            _versions[kind, name] = f"{origin} {_hash(Path(path))}"
            _homes[path] = origin


def _offers(kind: Kind) -> Iterator[tuple[str, str, Any, ModuleType | None]]:
    """Yield name, origin, object and module of each offer; of a package an entry and None."""
    for path in files():
        module = _imported(path)
        for name, target in vars(module).get(_DICTIONARIES[kind], {}).items() if module else ():
            yield name, path.name, target, module
    for entry in _installed().select(group=f"dycoke.{_DICTIONARIES[kind].lower()}"):
        yield entry.name, f"{entry.dist.name} {entry.dist.version}", entry, None


@cache  # scanning all packages takes milliseconds
def _installed() -> Any:
    from importlib.metadata import entry_points  # imported late: the import takes even longer

    return entry_points()


@cache
def _imported(path: Path) -> ModuleType | None:
    """Import a plug-in file; None (and a problem) if that fails.

    No bytecode is written, which could be stale after an edit within a second.
    """
    from dycoke_cli.storage.input_file import read_file  # not for the help

    module = ModuleType(f"dycoke_plugin_{files().index(path)}_{path.stem}")
    module.__file__ = str(path)
    try:
        sys.modules[module.__name__] = module  # dataclasses look their module up
        exec(compile(read_file(path), path, "exec", dont_inherit=True), vars(module))
        found = [vars(module)[name] for name in _DICTIONARIES.values() if name in vars(module)]
        if not found or not all(isinstance(each, dict) for each in found):
            raise Unfit('it needs a dictionary by name, such as METHODS = {"stride": Stride}')
        return module
    except (Exception, SystemExit) as error:
        # The innermost line within the file: the error may come from a library that it calls.
        lines = [at.lineno for at in extract_tb(error.__traceback__) if at.filename == str(path)]
        where = f" (line {lines[-1]})" if lines else ""
        _note(str(path), f"it isn't used: {_reason(error)}{where}")
        return None


def _note(origin: str, sentence: str) -> None:
    sentence = f"plug-in {display_name(origin)}: {sentence}"
    if sentence not in problems:
        problems.append(sentence)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    ours = isinstance(error, Unfit | DycokeError)
    return " ".join(str(error).split()) if ours else f"{type(error).__name__}: {error}"


def _hash(path: Path) -> str:
    from dycoke_cli.storage.input_file import read_file

    return hashlib.sha256(read_file(path)).hexdigest()[:12]
