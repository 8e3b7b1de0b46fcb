from __future__ import annotations

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.video import parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("90", 90.0),
        ("90.25", 90.25),
        (".5", 0.5),
        ("1:30", 90.0),
        ("90:00", 5400.0),
        ("00:01:30.500", 90.5),
        ("10:00:00", 36000.0),
        (" 7 ", 7.0),
    ],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1:60",
        "1:75:00",
        "1:2:3:4",
        "abc",
        "1e3",
        "nan",
        "inf",
        "1,5",
        "1:-2",
        "٣",
        "\x1b",
        "9" * 400,  # too large for a float
        "9" * 400 + ":00:00",
        "9" * 5000 + ":00:00",  # too long for an int
        "x" * 5000,
    ],
)
def test_anything_else_is_refused_with_the_forms_that_work(text: str) -> None:
    with pytest.raises(UsageError, match=r"isn't a time: write seconds .* HH:MM:SS\.mmm") as error:
        parse_time(text)
    assert error.value.exit_code == 2
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 200
