"""Cases of tests: `make test` runs at most eight of a function, `make test-extended` the others.

Where each case runs a model or a method, it runs at most four, and where each is marked `slow` one.
They are drawn by the names of the cases (`thin_out`, which `tests.limits` calls), so that functions
over the same families or methods get different ones. A product for which `make test` needs fewer
says so with `covered`: at least one case with each value (`together=1`), or with each pair of
values (`together=2`). The other cases are marked `extended`.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterable, Mapping
from itertools import combinations
from typing import Any

import pytest

Case = tuple[Hashable, ...]
EXTENDED = (pytest.mark.extended, pytest.mark.slow)
"""The marks of what only `make test-extended` runs."""
MOST = 8
"""Cases of a function that `make test` runs."""
COSTLY = tuple(
    f"tests/{folder}/"
    for folder in ("compression", "engine", "families", "kernels", "server/local", "verification")
)
MOST_COSTLY, MOST_SLOW = 4, 1
"""The same where each case runs a model or a method, and where it is marked `slow`."""


def covered(cases: Iterable[Case], together: int, first: Container[Any] | None = None) -> list[Any]:
    """All cases in their order, for `parametrize`; those not needed to cover are `extended`.

    Args:
        first: the first values that `make test` runs; None for all.
    """
    cases = [*cases]
    needed = {*covering((c for c in cases if first is None or c[0] in first), together)}
    return [pytest.param(*case, marks=() if case in needed else EXTENDED) for case in cases]


def thin_out(items: Iterable[pytest.Item]) -> None:
    """Mark all but `MOST` cases of each function; values that no case had yet are drawn first."""
    functions: defaultdict[str, dict[Case, pytest.Item]] = defaultdict(dict)
    for item in sorted(items, key=lambda item: zlib.crc32(item.nodeid.encode())):
        if (called := getattr(item, "callspec", None)) and not item.get_closest_marker("extended"):
            case = _case(called.params, [*item.iter_markers("parametrize")])
            functions[item.nodeid.partition("[")[0]][case] = item
    for name, cases in functions.items():
        is_slow = all(item.get_closest_marker("slow") for item in cases.values())
        most = MOST_SLOW if is_slow else MOST_COSTLY if name.startswith(COSTLY) else MOST
        if len(cases) > most:
            drawn = covering(cases, together=1)
            drawn += [case for case in cases if case not in drawn]
            for case in drawn[most:]:
                for mark in EXTENDED:
                    cases[case].add_marker(mark)


def _case(given: Mapping[str, Any], marks: Iterable[pytest.Mark]) -> Case:
    """What tells the values of each `parametrize` apart, and of each fixture with parameters."""
    left, case = {**given}, []
    for mark in marks:
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        case.append(tuple(id(left.pop(name.strip())) for name in names))
    return (*case, *map(id, left.values()))


def covering(cases: Iterable[Case], together: int) -> list[Case]:
    """A greedy choice: each case adds the most combinations; of equals, the least used values."""
    left = {case: _combinations(case, together) for case in cases}
    chosen: list[Case] = []
    missing = set().union(*left.values())
    used: Counter[tuple[int, Hashable]] = Counter()

    def gain(case: Case) -> tuple[int, int]:
        return len(left[case] & missing), -sum(used[value] for value in enumerate(case))

    while missing:
        best = max(left, key=gain)
        missing -= left.pop(best)
        used.update(enumerate(best))
        chosen.append(best)
    return chosen


def _combinations(case: Case, together: int) -> set[tuple[tuple[int, Hashable], ...]]:
    """Those of the values of a case, each with its place."""
    return {*combinations(enumerate(case), together)}
