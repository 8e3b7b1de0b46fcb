"""A picture shows what a terminal would: the screen, not all that was ever written to it."""

import re
from pathlib import Path

import pytest

from benchmarks import pictures
from benchmarks.pictures import PICTURES, Picture, Screen, draw

README = (pictures.ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join(page.read_text("utf-8") for page in (pictures.ROOT / "docs").glob("*.md"))


def test_what_was_erased_is_gone() -> None:
    screen = Screen()
    screen.feed(
        "kept\r\n\x1b[?25l\x1b[32mbar\x1b[0m 1\r\x1b[2Kbar 2\r\nmore\r\x1b[2K\x1b[1A\x1b[2Kend\n"
    )
    assert screen.text().plain == "kept\nend"


def test_a_progress_line_is_seen_while_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "dycoke_cli.py"
    module.write_text(
        "import sys, time\n"
        "print('note')\n"
        "for done in range(5):\n"
        "    print(f'\\r\\x1b[2K\\x1b[31m{done} left\\x1b[0m ü', end='', flush=True)\n"
        "    time.sleep(0.2)\n"
        "print('\\r\\x1b[2K', end='')\n"
        "print('end of', *sys.argv[1:], sys.stdout.isatty())\n"
    )
    monkeypatch.setattr(pictures, "ROOT", tmp_path / "elsewhere")
    svg = draw(Picture("some", ("ask", "a b"), while_it_runs=" left"), tmp_path)
    shown = " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", "", svg, flags=re.DOTALL).split())
    shown = shown.replace("&#160;", " ")
    assert "$ dycoke ask 'a b'" in shown.replace("&#x27;", "'")
    (left,) = re.findall(r"(\d) left ü", shown)
    assert left in "123"
    assert shown.count("note") == 1
    assert "end of ask a b True" in shown
    assert "url(http" not in svg


@pytest.mark.parametrize("name", [picture.name for picture in PICTURES])
def test_a_page_shows_it(name: str) -> None:
    assert f"](docs/pictures/{name}.svg)" in README or f"](pictures/{name}.svg)" in PAGES
    svg = (pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    (arguments,) = [picture.arguments for picture in PICTURES if picture.name == name]
    shown = re.sub(r"<[^>]*>", "", svg).replace("&#160;", " ").replace("&#x27;", "'")
    assert all(argument in shown for argument in arguments)
    assert "/tmp" not in shown
