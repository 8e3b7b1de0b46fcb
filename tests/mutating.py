"""Finds one place in the package by the shape of its code, and gives the file with it changed.

A pattern is an expression or some statements. A name that is one capital letter stands for any
expression, and for any name of an attribute or an argument; the same letter, for the same one. So a
pattern outlives new formatting, renamed variables, and moves: a place is looked for by the end of
the dotted name of the function, class or module that it is in.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "dycoke_cli"

_ANY = re.compile(r"[A-Z]")
_IGNORED = ("ctx", "type_comment", "kind")

Bound = dict[str, Any]
"""What the letters of a pattern stand for: an expression, or a name."""


class NotOnePlaceError(ValueError):
    """A pattern fits no place, or several."""


@dataclass(frozen=True)
class _Scope:
    """A module, class or function by its dotted name, and the tree of its file."""

    path: Path
    tree: ast.Module
    name: str
    node: ast.AST


@dataclass(frozen=True)
class _Place:
    """What fits a pattern: the field `name` of `owner`, or `length` items of the list there."""

    scope: _Scope
    owner: ast.AST
    name: str
    index: int | None
    length: int
    bound: Bound


def changed(where: str, pattern: str, replacement: str, src: Path = SRC) -> tuple[Path, str]:
    """Replace the one place that fits a pattern.

    Args:
        where: the function, class or module that the place is in, by as much of the end of its
            dotted name as it takes: "attach", "KVStore.mask", "engine.prefill".
        pattern: an expression, or statements.
        replacement: of the same kind, with the letters of the pattern. No statement: "pass".
        src: the folder that the package is in.

    Returns:
        The file, relative to `src`, and its new text, without comments.

    Raises:
        NotOnePlaceError: the pattern fits no place there, or several.
    """
    found = _places(where, _parsed(pattern), src)
    if len(found) != 1:
        raise NotOnePlaceError(f"in {where}, {len(found)} places look like this: {pattern}")
    place = found[0]
    new = _filled(_parsed(replacement), place.bound)
    value = getattr(place.owner, place.name)
    if place.index is None:
        setattr(place.owner, place.name, new)
    else:
        items = new if isinstance(new, list) else [new]
        rest = value[place.index + place.length :]
        setattr(place.owner, place.name, [*value[: place.index], *items, *rest])
    text = ast.unparse(ast.fix_missing_locations(place.scope.tree))
    setattr(place.owner, place.name, value)  # the tree is kept for the next search
    return place.scope.path.relative_to(src), text


@functools.cache
def _scopes(src: Path) -> list[_Scope]:
    """Every module, class and function of the package."""
    found: list[_Scope] = []
    for path in sorted((src / PACKAGE).rglob("*.py")):
        module = ".".join(path.relative_to(src).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [_Scope(path, tree, name, node) for name, node in _named(tree, module)]
    return found


def _named(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
        yield name, node
    for child in ast.iter_child_nodes(node):
        own = isinstance(child, (ast.ClassDef, ast.FunctionDef))
        yield from _named(child, f"{name}.{child.name}" if own else name)


def _parsed(code: str) -> Any:
    body = ast.parse(code).body
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else body


def _places(where: str, pattern: Any, src: Path) -> list[_Place]:
    found = {
        (id(place.owner), place.name, place.index): place
        for scope in _scopes(src)
        if f".{scope.name}".endswith(f".{where}")
        for place in _within(scope, pattern)
    }
    return list(found.values())


def _within(scope: _Scope, pattern: Any) -> Iterator[_Place]:
    for owner in ast.walk(scope.node):
        for name, value in ast.iter_fields(owner):
            if isinstance(pattern, list):
                starts = range(len(value) - len(pattern) + 1) if isinstance(value, list) else ()
                candidates = [(i, value[i : i + len(pattern)]) for i in starts]
            elif isinstance(value, list):
                candidates = list(enumerate(value))
            else:
                candidates = [(None, value)]
            for index, candidate in candidates:
                bound: Bound = {}
                if _fits(pattern, candidate, bound):
                    length = len(pattern) if isinstance(pattern, list) else 1
                    yield _Place(scope, owner, name, index, length, bound)


def _fits(pattern: Any, node: Any, bound: Bound) -> bool:
    letter = pattern.id if isinstance(pattern, ast.Name) else pattern
    if isinstance(letter, str) and _ANY.fullmatch(letter):
        if not isinstance(node, ast.expr if isinstance(pattern, ast.Name) else str):
            return False
        return _text(bound.setdefault(letter, node)) == _text(node)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Constant):  # its text is no pattern
        return bool(type(pattern.value) is type(node.value) and pattern.value == node.value)
    if isinstance(pattern, ast.AST):
        return all(
            _fits(getattr(pattern, name), getattr(node, name), bound)
            for name in pattern._fields
            if name not in _IGNORED
        )
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(
            _fits(one, other, bound) for one, other in zip(pattern, node, strict=True)
        )
    return bool(pattern == node)


def _text(thing: Any) -> str:
    return thing if isinstance(thing, str) else ast.unparse(thing)


def _filled(node: Any, bound: Bound) -> Any:
    """A replacement with what its letters stand for."""
    if isinstance(node, list):
        return [_filled(item, bound) for item in node]
    if isinstance(node, ast.Name) and node.id in bound:
        found = bound[node.id]
        return ast.Name(found, node.ctx) if isinstance(found, str) else copy.deepcopy(found)
    if isinstance(node, str) and node in bound:
        return _text(bound[node])
    if isinstance(node, ast.AST) and not isinstance(node, ast.Constant):
        for name, value in ast.iter_fields(node):
            setattr(node, name, _filled(value, bound))
    return node
