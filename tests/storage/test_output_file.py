"""Sentences about a file that can't be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.storage.output_file import check_suffix, unwritable


@pytest.mark.parametrize(
    ("suffixes", "either"),
    [((".csv",), ".csv"), ((".csv", ".srt"), ".csv or .srt"), ((".a", ".b", ".c"), ".a, .b or .c")],
)
def test_the_suffixes_that_it_may_have(suffixes: tuple[str, ...], either: str) -> None:
    for suffix in suffixes:
        check_suffix(Path(f"x{suffix.upper()}"), suffixes, "--out")
    with pytest.raises(UsageError) as raised:
        check_suffix(Path("x.xls"), suffixes, "--out")
    assert (
        str(raised.value)
        == f"--out x.xls: name a file that ends in {either}, as in --out x{suffixes[0]}"
    )


def test_the_reason_and_the_flag() -> None:
    error = OSError(errno.EROFS, "Read-only file system")
    said = unwritable(Path("a.csv"), error)
    assert said == "a.csv can't be written (Read-only file system); give another --out"
