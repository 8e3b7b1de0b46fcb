"""The table of models that differ in their seed, against figures computed by hand."""

from __future__ import annotations

import pytest

from benchmarks.cells import Document
from benchmarks.seed_tables import seeds_table


def document(accuracy: float, lost: float, videos: int = 10) -> Document:
    """Of a model that loses so much with a quarter of its tokens drawn at random."""
    base = {"spec": "none", "accuracy": accuracy, "plus_minus": 0.01, "difference": None}
    row = {
        "spec": "random:retain=0.25",
        "method": "random",
        "parameters": {},
        "kept_before_llm": 0.25,
        "accuracy": accuracy + lost,
        "plus_minus": 0.01,
        "difference": lost,
        "difference_plus_minus": 0.005,
    }
    return {"videos": videos, "rows": [base, row]}


def test_mean_and_standard_deviation_between_models() -> None:
    found = seeds_table({"a": document(0.8, -0.06), "b": document(0.82, -0.12)})
    # Of two: the mean, and their distance / √2.
    assert found.splitlines() == [
        "| row | kept | a | b | mean | between models |",
        "| --- | --- | --- | --- | --- | --- |",
        "| baseline |  | 80.0 ± 1.0 % | 82.0 ± 1.0 % | 81.0 % | 1.4 |",
        "| `random` | 25 % | −6.0 ± 0.5 | −12.0 ± 0.5 | −9.0 | 4.2 |",
    ]


def test_models_that_were_asked_about_other_videos_arent_compared() -> None:
    with pytest.raises(ValueError, match="different videos"):
        seeds_table({"a": document(0.8, -0.06), "b": document(0.8, -0.06, videos=11)})
