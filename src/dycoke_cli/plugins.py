"""Plug-ins: methods, benchmarks and families of other packages, and of files that the user names.

A package offers them as entry points, a file as dictionaries:

    [project.entry-points."dycoke.methods"]          METHODS = {"stride": Stride}
    stride = "dycoke_stride:Stride"

Each registry is extended by those of its kind when it is imported. What can't be used is left out
and listed in `problems`. A file is imported as a module below this one whose name has a hash of the
file: another process that is sent an object of it finds it by that name, if the file is the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Literal

from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["method", "benchmark", "family"]

FLAG = "--plugin"
ENVIRONMENT = "DYCOKE_PLUGINS"
"""An environment variable: paths of files, separated as in PATH. Worker processes inherit it."""

_DICTIONARIES: dict[Kind, str] = {
    "method": "METHODS",
    "benchmark": "BENCHMARKS",
    "family": "FAMILIES",
}
"""Their names in a file."""


class Unfit(Exception):
    """Why something that a plug-in offers can't be used."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a plug-in.

    Args:
        sentence: for a person.
        error: what was raised.
        asked: whether the user named the file on this command line.
    """

    sentence: str
    error: BaseException
    asked: bool


@dataclass(frozen=True)
class _Offer:
    """Something that a plug-in offers.

    Args:
        name: as it is called on the command line.
        origin: the package with its version, or the file.
        load: returns it, and the module that it is in.
        asked: see `Problem`.
    """

    name: str
    origin: str
    load: Callable[[], tuple[Any, ModuleType]]
    asked: bool = False


problems: list[Problem] = []
"""Of all plug-ins, in the order in which they were found."""

_used: dict[tuple[Kind, str], _Offer] = {}
_versions: dict[tuple[Kind, str], str] = {}
_asked: set[Path] = set()
_waiting: deque[tuple[Kind, MutableMapping[str, Any], Callable[[str, Any], None]]] = deque()
_extending = False


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of `--plugin` on a command line, and the other arguments.

    Raises:
        UsageError: it has no value.
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
    """Load these files, too, here and in the processes that are started from here.

    Raises:
        UsageError: the registries were imported before, so that it is too late.
    """
    named = [os.path.abspath(path) for path in paths]
    if files.cache_info().currsize and not {*map(Path, named)} <= {*files()}:
        raise UsageError(f"{FLAG} {paths[0]}: this process has read its plug-ins; start another")
    if named:
        _asked.update(map(Path, named))
        before = os.environ.get(ENVIRONMENT)
        os.environ[ENVIRONMENT] = os.pathsep.join([*named, *([before] if before else [])])


@cache
def files() -> tuple[Path, ...]:
    """The files that the user named: of the command line, then of the environment."""
    named = os.environ.get(ENVIRONMENT, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(os.path.abspath(path)) for path in named if path))


def offered() -> bool:
    """Whether there is any plug-in, be it usable or not; imports none."""
    groups = (f"dycoke.{name.lower()}" for name in _DICTIONARIES.values())
    return bool(files()) or any(_installed().select(group=group) for group in groups)


def version(kind: Kind, name: str) -> str | None:
    """What tells the code of a plug-in from other code of that name; None of what is bundled.

    The package with its version, or the file, and a hash of the file that it is defined in.
    """
    return _versions.get((kind, name))


def add_problem(kind: Kind, name: str, sentence: str) -> None:
    """Note what is wrong with something that is used nevertheless.

    Raises:
        KeyError: it is none of a plug-in.
    """
    offer = _used[kind, name]
    sentence = f"the {kind} {name!r}: {sentence}"
    _note(offer.origin, sentence, Unfit(sentence), offer.asked)


def extend(
    kind: Kind, registry: MutableMapping[str, Any], check: Callable[[str, Any], None]
) -> None:
    """Add what plug-ins offer to a registry; what was there stays.

    Args:
        kind: of the registry.
        registry: by name.
        check: called with the name and the object; raises `Unfit`, or anything else.
    """
    global _extending
    _waiting.append((kind, registry, check))
    if _extending:  # by a plug-in that is being imported, and has to be done first
        return
    _extending = True
    try:
        while _waiting:
            _extend(*_waiting.popleft())
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
            thing, module = offer.load()
            check(offer.name, thing)
        except (Exception, SystemExit) as error:
            sentence = f"the {kind} {offer.name!r} isn't used: {_why(error)}"
            _note(offer.origin, sentence, error, offer.asked)
        else:
            registry[offer.name] = thing
            _used[kind, offer.name] = offer
            _versions[kind, offer.name] = f"{offer.origin} {_hash(Path(module.__file__ or ''))}"


def _offers(kind: Kind) -> Iterator[_Offer]:
    """Those of files first: who names a file means it."""
    for path in files():
        if (module := _imported(path)) is not None:
            for name, thing in getattr(module, _DICTIONARIES[kind], {}).items():
                yield _Offer(name, path.name, partial(_with_module, thing, module), path in _asked)
    for entry in _installed().select(group=f"dycoke.{_DICTIONARIES[kind].lower()}"):
        assert entry.dist is not None
        origin = f"{entry.dist.name} {entry.dist.version}"
        yield _Offer(entry.name, origin, partial(_loaded, entry))


@cache  # looking into all packages takes milliseconds
def _installed() -> Any:
    from importlib.metadata import entry_points  # only here: its import takes longer still

    return entry_points()


def _loaded(entry: EntryPoint) -> tuple[Any, ModuleType]:
    return _with_module(entry.load(), sys.modules[entry.module])


def _with_module(thing: Any, module: ModuleType) -> tuple[Any, ModuleType]:
    """A class may come from another module than the one that offers it."""
    return thing, sys.modules[thing.__module__] if isinstance(thing, type) else module


@cache
def _imported(path: Path) -> ModuleType | None:
    """The module of a file; None where there is a problem."""
    try:
        if path.suffix != ".py":
            raise Unfit("name a Python file, which ends in .py")
        module = import_module(f"{__name__}.{_module_name(path)}")
        offered = [getattr(module, name, None) for name in _DICTIONARIES.values()]
        if not all(isinstance(each, dict | None) for each in offered) or not any(offered):
            raise Unfit("it has to have METHODS, BENCHMARKS or FAMILIES: a dictionary by name")
        return module
    except (Exception, SystemExit) as error:
        lines = [at.lineno for at in extract_tb(error.__traceback__) if at.filename == str(path)]
        where = f" (line {lines[-1]})" if lines else ""
        _note(str(path), f"it isn't used: {_why(error)}{where}", error, path in _asked)
        return None


def _note(origin: str, sentence: str, error: BaseException, asked: bool) -> None:
    sentence = f"plug-in {display_name(origin)}: {sentence}"
    if all(sentence != known.sentence for known in problems):
        problems.append(Problem(sentence, error, asked))


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = isinstance(error, Unfit | DycokeError)
    return " ".join(str(error).split()) if known else f"{type(error).__name__}: {error}"


def _module_name(path: Path) -> str:
    return "_".join([re.sub(r"\W", "_", path.stem), _hash(path)])


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


class _Loader(SourceFileLoader):
    """Leaves no bytecode beside the file, and takes none for a file that was edited since."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class _Finder:
    """Finds the modules of files by their names."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != __name__:
            return None
        for file in files():
            if file.exists() and _module_name(file) == name:
                return spec_from_file_location(fullname, loader=_Loader(fullname, str(file)))
        raise ModuleNotFoundError(
            f"the plug-in file {name.rpartition('_')[0]}.py isn't here as it was where the run "
            f"began: put the same file at the same path, and name it in {ENVIRONMENT}"
        )


# What makes this module a package, whose modules are looked for.
__path__: list[str] = []
sys.meta_path.append(_Finder)
