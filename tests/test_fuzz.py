"""A small fuzz; `python -m tests.fuzz` is the large one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz import SUBJECTS, first_cases
from tests.fuzzing.trying import ANSWER, outcomes
from tests.marks import EXTENDED


@pytest.mark.slow
@pytest.mark.parametrize("of_models", [0.003, pytest.param(0.008, marks=EXTENDED)])
def test_the_first_cases_of_each_kind_end_well(of_models: float) -> None:
    """Fewer of models, each of which is loaded."""
    shares = [of_models if subject.group == "models" else 0.008 for subject in SUBJECTS]
    cases = [case for one in zip(SUBJECTS, shares, strict=True) for case in first_cases(*one)]
    tried = [*zip((subject.name for subject, *_ in cases), outcomes(cases), strict=True)]
    assert [(name, one) for name, one in tried if one.is_finding] == []
    assert len(tried) > 400
    answered = Counter(name for name, one in tried if one.kind == ANSWER)
    assert answered.keys() == {subject.name for subject in SUBJECTS}, "seeds aren't answered"
