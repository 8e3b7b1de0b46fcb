"""The elements of a page."""

from __future__ import annotations

from html.parser import HTMLParser


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
