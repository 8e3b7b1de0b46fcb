"""Plug-ins: methods, benchmarks and model families from other packages or from Python files.

A package declares them as entry points, a file as dictionaries, or as lists of what has a name:

    [project.entry-points."dycoke.methods"]          METHODS = {"stride": Stride}
    stride = "dycoke_stride:Stride"                  METHODS = [Stride]

Each registry adds the plug-ins of its kind when it is imported. Unusable plug-ins are skipped and
listed in `problems`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from dycoke_cli.errors import DycokeError, UsageError, did_you_mean
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["method", "benchmark", "family"]

FLAG = "--plugin"
ENVIRONMENT = "DYCOKE_PLUGINS"
"""Environment variable with paths of files, separated as in PATH. Worker processes inherit it."""

_DICTIONARIES: dict[Kind, str] = {
    "method": "METHODS",
    "benchmark": "BENCHMARKS",
    "family": "FAMILIES",
}
"""Name of the dictionary in a file, by kind."""

_FORM = 'a dictionary by name, as in METHODS = {"stride": Stride}'


class Unfit(Exception):
    """A plug-in's object can't be used; the message is the reason."""


@dataclass(frozen=True)
class Problem:
    """Error or warning about a plug-in."""

    sentence: str  # message for the user
    error: BaseException  # the exception
    asked: bool  # whether the file was named on this command line, so that the problem is an error


@dataclass(frozen=True)
class _Offer:
    """Object that a plug-in offers, not loaded yet."""

    name: str  # on the command line
    origin: str  # the package with its version, or the file
    load: Callable[[], tuple[Any, ModuleType]]  # returns the object and the module that defines it
    asked: bool = False  # see `Problem`


problems: list[Problem] = []
"""Problems of all plug-ins, in order of discovery."""

_loaded_offers: dict[tuple[Kind, str], _Offer] = {}
_versions: dict[tuple[Kind, str], str] = {}
_homes: dict[str, str] = {}  # origin of each file that defines an object in use
_by_flag: set[Path] = set()
_pending: deque[tuple[Kind, MutableMapping[str, Any], Callable[[str, Any], None]]] = deque()
_extending = False


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into the values of `--plugin` and the other arguments.

    The registries are extended on import, before any command parses its flags.
    """
    files: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return files, [*others, word, *words]
        flag, equals, value = word.partition("=")
        if flag != FLAG:
            others.append(word)
        elif value := value if equals else next(words, ""):
            files.append(value)
        else:
            raise UsageError(f"{FLAG} needs the name of a Python file")
    return files, others


def name_files(paths: Sequence[str]) -> None:
    """Add files to the plug-ins of this process and of the processes it starts."""
    named = [os.path.abspath(path) for path in paths]
    if files.cache_info().currsize and not {*map(Path, named)} <= {*files()}:
        raise UsageError(f"{FLAG} {paths[0]}: this process has read its plug-ins; start another")
    if named:
        _by_flag.update(map(Path, named))
        before = os.environ.get(ENVIRONMENT)
        os.environ[ENVIRONMENT] = os.pathsep.join([*named, *([before] if before else [])])


@cache
def files() -> tuple[Path, ...]:
    """Plug-in files: from the command line, then from the environment."""
    named = os.environ.get(ENVIRONMENT, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(os.path.abspath(path)) for path in named if path))


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


def extend(
    kind: Kind, registry: MutableMapping[str, Any], check: Callable[[str, Any], None]
) -> None:
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


def _extend(
    kind: Kind, registry: MutableMapping[str, Any], check: Callable[[str, Any], None]
) -> None:
    for offer in _offers(kind):
        try:
            if offer.name in registry:
                taken = version(kind, offer.name)
                raise Unfit(f"the name is taken by {taken or 'one of dycoke'}")
            target, module = offer.load()
            check(offer.name, target)
        except (Exception, SystemExit) as error:
            sentence = f"the {kind} {offer.name!r} isn't used: {_reason(error)}"
            _note(offer.origin, sentence, error, offer.asked)
        else:
            registry[offer.name] = target
            _loaded_offers[kind, offer.name] = offer
            home = module.__file__ or ""
            _versions[kind, offer.name] = f"{offer.origin} {_hash(Path(home))}"
            _homes[home] = offer.origin


def _offers(kind: Kind) -> Iterator[_Offer]:
    """Offers of a kind; files first, so that a named file wins over a package."""
    for path in files():
        if (module := _imported(path)) is not None:
            for name, target in (_by_name(module, _DICTIONARIES[kind]) or {}).items():
                yield _Offer(
                    name,
                    path.name,
                    partial(_with_module, target, module),
                    path in _by_flag,
                )
    for entry in _installed().select(group=f"dycoke.{_DICTIONARIES[kind].lower()}"):
        assert entry.dist is not None
        origin = f"{entry.dist.name} {entry.dist.version}"
        yield _Offer(entry.name, origin, partial(_loaded, entry))


@cache  # scanning all packages takes milliseconds
def _installed() -> Any:
    from importlib.metadata import entry_points  # imported late: the import takes even longer

    return entry_points()


def _loaded(entry: EntryPoint) -> tuple[Any, ModuleType]:
    return _with_module(entry.load(), sys.modules[entry.module])


def _with_module(target: Any, module: ModuleType) -> tuple[Any, ModuleType]:
    """Pair an object with its defining module: a class may be re-exported by the entry point's."""
    return target, sys.modules[target.__module__] if isinstance(target, type) else module


@cache
def _imported(path: Path) -> ModuleType | None:
    """Import a plug-in file; None (and a problem) if that fails.

    No bytecode is written, which could be stale after an edit within a second.
    """
    from dycoke_cli.storage.input_file import read_file  # not for the help

    module = ModuleType(f"dycoke_plugin_{files().index(path)}_{path.stem}")
    module.__file__ = str(path)
    try:
        if path.suffix != ".py":
            raise Unfit("name a Python file, which ends in .py")
        sys.modules[module.__name__] = module  # dataclasses look their module up
        exec(compile(read_file(path), path, "exec", dont_inherit=True), vars(module))
        if not any(_by_name(module, name) for name in _DICTIONARIES.values()):
            raise Unfit(f"it has to have METHODS, BENCHMARKS or FAMILIES, {_FORM}")
        return module
    except (Exception, SystemExit) as error:
        # The innermost line within the file: the error may come from a library that it calls.
        lines = [at.lineno for at in extract_tb(error.__traceback__) if at.filename == str(path)]
        where = f" (line {lines[-1]})" if lines else ""
        _note(str(path), f"it isn't used: {_reason(error)}{where}", error, path in _by_flag)
        return None


def _by_name(module: ModuleType, dictionary: str) -> dict[str, Any] | None:
    """What a file offers of one kind; None for nothing."""
    offered = getattr(module, dictionary, None)
    if isinstance(offered, list | tuple):
        offered = {getattr(one, "name", None): one for one in offered}
    if not isinstance(offered, dict | None) or not all(
        isinstance(name, str) for name in offered or ()
    ):
        raise Unfit(f"its {dictionary} has to be {_FORM}")
    return offered


def hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """End of an error about an unknown name, which a plug-in that isn't used may have."""
    return "; ".join([did_you_mean(name, known, otherwise), *(one.sentence for one in problems)])


def _note(origin: str, sentence: str, error: BaseException, asked: bool) -> None:
    sentence = f"plug-in {display_name(origin)}: {sentence}"
    if all(sentence != each.sentence for each in problems):
        problems.append(Problem(sentence, error, asked))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    ours = isinstance(error, Unfit | DycokeError)
    return " ".join(str(error).split()) if ours else f"{type(error).__name__}: {error}"


def _hash(path: Path) -> str:
    from dycoke_cli.storage.input_file import read_file

    return hashlib.sha256(read_file(path)).hexdigest()[:12]
