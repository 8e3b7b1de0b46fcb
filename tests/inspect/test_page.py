"""The page is one file that fetches nothing, and no text in its data becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from dycoke_cli.inspect.inspection import page

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!--<script>@SCRIPT@ \u2028 &amp;"


class Elements(HTMLParser):
    """The elements of a page, with the text in each script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.texts: dict[tuple[str, str | None], str] = {}
        self.addresses: list[str] = []
        self._inside: tuple[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names.append(tag)
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        assert not any(name.startswith("on") or name == "style" for name in given)
        if tag in ("script", "style"):
            self._inside = tag, given.get("type")
            self.texts[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.texts[self._inside] += data


def read(text: str) -> Elements:
    elements = Elements()
    elements.feed(text)
    return elements


def test_hostile_text_stays_in_the_data() -> None:
    data = {"inspection": {"question": HOSTILE, "methods": [{"answer": HOSTILE}]}}
    elements = read(page(data))
    assert elements.names == read(page({})).names
    assert "img" not in elements.names
    assert json.loads(elements.texts["script", "application/json"]) == data


def test_nothing_is_fetched_and_nothing_runs_but_the_page() -> None:
    text = page({"inspection": HOSTILE})
    elements = read(text)
    assert elements.addresses == ["data:,"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, source in ((("script", None), "script-src"), (("style", None), "style-src")):
        digest = hashlib.sha256(elements.texts[kind].encode()).digest()
        assert rules[source] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert not re.search(r"https?://|\burl\(|@import|innerHTML|eval\(", text)
