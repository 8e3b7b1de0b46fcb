"""What knows what, read off the source.

Each import counts, also one inside a function or for type checkers alone, and each string that
names a module ("dycoke_cli.video.planning", with or without ":Name").
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
PACKAGE = "dycoke_cli"

Graph = Mapping[str, set[str]]


def python_path(*first: object) -> str:
    """PYTHONPATH of a process that imports this package from where it is imported here."""
    package = Path(str(import_module(PACKAGE).__file__)).parents[1]
    return os.pathsep.join(map(str, (*first, package, SRC.parent)))


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Of a file's syntax tree: parsed once, since most tests here read all files."""
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def named(path: Path, package: str) -> Iterator[str]:
    """Every dotted name that a file of a package imports, or has as a string."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else ()), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


def import_graph(root: Path, package: str) -> Graph:
    """For each module of a package the modules of it that it names; never itself."""
    paths = {module_name(path, root): path for path in (root / package).rglob("*.py")}
    public = (name.rpartition(".") for name in named(paths[package], package))
    homes = {f"{package}.{name}": home for home, _, name in public}

    def module_of(name: str) -> str | None:
        """The module that a dotted name is, or is an attribute of, or whose public name it is."""
        inside = homes.get(name, name.rpartition(".")[0])
        return next((m for m in (name, inside) if m in paths), None)

    graph = {}
    for module, path in paths.items():
        within = module if path.stem == "__init__" else module.rpartition(".")[0]
        names = named(path, within)
        graph[module] = {found for n in names if (found := module_of(n))} - {module}
    return graph


def reached(graph: Graph, *starts: str) -> set[str]:
    """All modules that are imported from some, the packages that they are in among them."""
    found: set[str] = set()
    todo = list(starts)
    while todo:
        module = todo.pop()
        if module in graph and module not in found:
            found.add(module)
            todo += [*graph[module], module.rpartition(".")[0]]
    return found
