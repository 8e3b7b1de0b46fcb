"""A picture shows what a terminal would: the screen, not all that was ever written to it."""

import re

import pytest

from benchmarks import pictures
from benchmarks.pictures import PICTURES, Screen

README = (pictures.ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join(page.read_text("utf-8") for page in (pictures.ROOT / "docs").glob("*.md"))


def test_what_was_erased_is_gone() -> None:
    screen = Screen()
    screen.feed(
        "kept\r\n\x1b[?25l\x1b[32mbar\x1b[0m 1\r\x1b[2Kbar 2\r\nmore\r\x1b[2K\x1b[1A\x1b[2Kend\n"
    )
    assert screen.text().plain == "kept\nend"


@pytest.mark.parametrize("name", [picture.name for picture in PICTURES])
def test_a_page_shows_it(name: str) -> None:
    assert f"](docs/pictures/{name}.svg)" in README or f"](pictures/{name}.svg)" in PAGES
    svg = (pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    (arguments,) = [picture.arguments for picture in PICTURES if picture.name == name]
    shown = re.sub(r"<[^>]*>", "", svg).replace("&#160;", " ").replace("&#x27;", "'")
    assert all(argument in shown for argument in arguments)
    assert "/tmp" not in shown
