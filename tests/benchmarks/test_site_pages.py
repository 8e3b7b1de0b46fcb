"""The site has every page of docs; links and old names lead to pages that it has."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from benchmarks import site_pages
from tests.pages import ROOT, anchors, links

SITE = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
REDIRECTS = SITE["plugins"]["redirects"]["redirect_maps"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    site_pages.write(folder)
    return folder


def listed(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else listed(target)


def test_the_navigation_lists_every_page_once(written: Path) -> None:
    names = [path.relative_to(written).as_posix() for path in written.rglob("*.md")]
    assert sorted(listed(SITE["nav"])) == sorted(names)
    assert len(names) == len([*(ROOT / "docs").rglob("*.md")]) + len(site_pages.OUTSIDE)


def test_old_names_lead_to_headings(written: Path) -> None:
    for old, new in REDIRECTS.items():
        name, _, anchor = new.partition("#")
        assert not (written / old).exists(), old
        assert (written / name).exists(), new
        assert not anchor or anchor in anchors((written / name).read_text("utf-8")), new


def test_links_lead_somewhere(written: Path) -> None:
    found = 0
    for page in written.rglob("*.md"):
        for link in links(page.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.is_file(), (page, link)
            assert not anchor or anchor in anchors(target.read_text("utf-8")), (page, link)
            found += 1
    assert found > 150


def test_links_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs" / "dev").mkdir(parents=True)
    (tmp_path / "docs" / "models.md").write_text("# Models\n")
    page = tmp_path / "docs" / "dev" / "tour.md"
    page.write_text(
        "[docs/models.md](../models.md#memory), [it](../models.md), [`run`](../../src/run.py),\n"
        "[out](https://x.org/a), [here](#top), ![picture](../a.png), `[code](../models.md)`\n"
        "```\n[code](../models.md)\n```\n"
    )
    monkeypatch.setattr(site_pages, "ROOT", tmp_path)
    there = {
        "docs/dev/tour.md": "dev/tour.md",
        "docs/models.md": "models.md",
        "docs/a.png": "a.png",
    }
    text = site_pages.page_text("docs/dev/tour.md", there.get, None)
    assert text == (
        "[Models](../models.md#memory), [it](../models.md), `run`,\n"
        "[out](https://x.org/a), [here](#top), ![picture](../a.png), `[code](../models.md)`\n"
        "```\n[code](../models.md)\n```\n"
    )
    text = site_pages.page_text("docs/dev/tour.md", there.get, "https://x.org/r")
    assert "[`run`](https://x.org/r/blob/main/src/run.py)," in text


def test_pictures_are_copied(written: Path) -> None:
    pictures = {
        path.relative_to(ROOT / "docs").as_posix()
        for kind in ("png", "svg")
        for path in (ROOT / "docs").rglob(f"*.{kind}")
    }
    shown = {
        normpath(PurePosixPath(path.relative_to(written).parent.as_posix()) / link)
        for path in written.rglob("*.md")
        for link in links(path.read_text(encoding="utf-8"))
        if link.endswith((".png", ".svg"))
    }
    assert shown <= pictures
    assert all((written / picture).is_file() for picture in shown)
