"""A small fuzz; `python -m tests.fuzz` is the large one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz import SUBJECTS, first_cases
from tests.fuzzing.trying import ANSWER, outcomes


@pytest.mark.slow
def test_the_first_cases_of_each_kind_end_well() -> None:
    cases = [case for subject in SUBJECTS for case in first_cases(subject, 0.008)]
    tried = [*zip((subject.name for subject, *_ in cases), outcomes(cases), strict=True)]
    assert [(name, one) for name, one in tried if one.is_finding] == []
    assert len(tried) > 400
    answered = Counter(name for name, one in tried if one.kind == ANSWER)
    assert answered.keys() == {subject.name for subject in SUBJECTS}, "seeds aren't answered"
