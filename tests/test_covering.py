"""What `make test` runs of a product of parameters covers it."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from tests.covering import covered, covering

AXES = ("abcdef", range(4), (None, 0.5), (True, False))


def seen(cases: list[tuple[object, ...]], together: int) -> set[object]:
    """Independent of `covering`: every selection of places, and what stands there."""
    places = [*combinations(range(len(cases[0])), together)]
    return {(chosen, tuple(case[i] for i in chosen)) for case in cases for chosen in places}


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("axes", [2, 3, 4])
def test_every_combination_of_values_occurs(axes: int, together: int) -> None:
    cases = [*product(*AXES[:axes])]
    chosen = covering(cases, min(together, axes))
    assert seen(chosen, min(together, axes)) == seen(cases, min(together, axes))
    assert {*chosen} <= {*cases}
    assert len({*chosen}) == len(chosen)


def test_it_is_small() -> None:
    """No covering is smaller than the largest product of as many axes."""
    assert len(covering(product(*AXES), 1)) == 6
    assert 24 <= len(covering(product(*AXES), 2)) <= 26
    assert len([*product(*AXES)]) == 96


def test_cases_that_are_missing_need_no_cover() -> None:
    cases = [("a", 1), ("a", 2), ("b", 2)]
    assert {*covering(cases, 2)} == {*cases}
    assert covering(cases, 1) == [("a", 1), ("b", 2)]


def test_of_some_values_all_cases_are_marked() -> None:
    every = covered(product("abc", range(2)), 1, first="ac")
    assert [p.values for p in every if not p.marks] == [("a", 0), ("c", 1)]


def test_the_others_are_marked() -> None:
    every = covered(product("abc", range(2)), 1)
    assert [parameters.values for parameters in every] == [*product("abc", range(2))]
    marked = {p.values for p in every if {mark.name for mark in p.marks} == {"extended", "slow"}}
    assert marked == {*product("abc", range(2))} - {*covering(product("abc", range(2)), 1)}
    assert [p.values for p in every if not p.marks] == [("a", 0), ("b", 1), ("c", 0)]
