"""The benchmark of kernels: its table, and its place in the page beside those of other machines."""

from __future__ import annotations

from benchmarks import kernels
from dycoke_cli.kernels.int8_linear import saturates


def test_a_gain_stands_behind_each_time() -> None:
    rows = {"a": {"stock": 10.0, "packed": 4.0}, "b": {"stock": 1.0, "packed": 2.0}}
    assert kernels.table("layer", rows).splitlines()[2:] == [
        "| a | 10 | 4 (2.5x) |",
        "| b | 1 | 2 (0.5x) |",
    ]


def test_the_error_of_eight_bits_is_small() -> None:
    for name, (plain, outliers) in kernels.errors().items():
        # Without VNNI, FBGEMM has 7 bits for tokens.
        coarser = 2 if "FBGEMM" in name and saturates() else 1
        assert 0.001 < plain < 0.015 * coarser
        assert plain < outliers < 0.06 * coarser
