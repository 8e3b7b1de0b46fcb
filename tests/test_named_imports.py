"""Names that files import are there, and links lead somewhere."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT, anchors, links

FOLDERS = ("benchmarks", "plugins", "tests", "training")
IMPORT = re.compile(r"from (dycoke_cli[\w.]*) import (\([^)]+\)|[^\n(]+)")
# A reader of CONTRIBUTING.md writes them.
EXAMPLES = (
    "dycoke_cli.compression.methods.stride",
    "dycoke_cli.evaluation.datasets.yesno",
)


def imported(text: str) -> list[tuple[str, str]]:
    """The module and the name of each import, also within strings and code blocks."""
    return [
        (module, name)
        for module, names in IMPORT.findall(text)
        for one in re.sub(r"#.*|;.*|\\n.*", "", names).split(",")
        for name in re.findall(r"\w+", one)[:1]
    ]


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.import_module(f"{module}.{name}")
        )
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
def test_it_is_there() -> None:
    scripts = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    wanted = {
        (path, *one)
        for path in {*PAGES} | scripts - {Path(__file__)}
        for one in imported(path.read_text(encoding="utf-8"))
        if one[0] not in EXAMPLES
    }
    assert len(wanted) > 1000
    assert [(str(path), *one) for path, *one in sorted(wanted) if not is_there(*one)] == []


def test_links_lead_somewhere() -> None:
    found = {page.resolve(): {*anchors(page.read_text(encoding="utf-8"))} for page in PAGES}
    for page in PAGES:
        for link in links(page.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), (page, link)
            assert not anchor or anchor in found[target], (page, link)


def test_a_heading_is_there_once() -> None:
    """The second of a name would be linked by a number, which changes with the page's order."""
    for page in PAGES:
        seen = Counter(anchors(page.read_text(encoding="utf-8")))
        twice = [name for name, count in seen.items() if count > 1]
        assert twice == [] or page.name == "CHANGELOG.md", page  # "Fixed", of each release


def test_all_pages_are_linked() -> None:
    """From README or CONTRIBUTING, or from a page that is."""
    left, reached = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], set[Path]()
    while left:
        page = left.pop().resolve()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            linked = (link.partition("#")[0] for link in links(page.read_text(encoding="utf-8")))
            left += [page.parent / name for name in linked if name]
    assert {*(ROOT / "docs").rglob("*.md")} <= reached
