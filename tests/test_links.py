"""Every link of a page to another file of the repository, or to a heading, leads there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.pages import PAGES, ROOT, anchors, links


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
