"""The pages of the repository, as tests read them: sections, anchors, links and commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import dropwhile, groupby, pairwise, takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "training").glob("*.md")),
    ROOT / "src" / "dycoke_cli" / "share" / "SKILL.md",
    *sorted((ROOT / "plugins").glob("*/*.md")),
]


def on_one_line(page: str) -> str:
    """The text of a page, without its line breaks."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


@cache
def _parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    headings = [*_headings(text)]
    ((begin, level),) = ((at, level) for at, level, heading in headings if heading == title)
    ends = [at for at, other, _ in headings if at > begin and other <= level]
    return "".join(text.splitlines(keepends=True)[begin + 1 : ends[0] if ends else None])


def anchors(text: str) -> list[str]:
    """The names by which the headings of a page can be linked, as GitHub makes them."""
    seen, found = Counter[str](), list[str]()
    for _, _, heading in _headings(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def links(text: str) -> list[str]:
    """What a page links to within the repository, pictures among it."""
    inline = (part for token in _parsed(text) for part in token.children or ())
    targets = (str(part.attrs.get("href") or part.attrs.get("src") or "") for part in inline)
    return [target for target in targets if target and not re.match(r"\w+:", target)]


def blocks(language: str, text: str) -> list[str]:
    """The fenced blocks of a language, also those of list items."""
    return [token.content for token in _parsed(text) if token.info == language]


def files_shown(text: str) -> dict[str, str]:
    """The files that a page shows in whole, by the name that stands above each."""
    return dict(re.findall(r"^`([\w.-]+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a page's blocks of a shell; each part of a pipe is one.

    Comments, variables in front, redirections and the usage of docs/reference.md are left out.
    """
    lines: list[str] = []
    for token in _parsed(text):
        kind, shown = token.info.partition(" ")[0], token.content.replace("\\\n", " ").splitlines()
        if kind == "console":
            shown = [line.partition("$ ")[2] for line in shown if re.match(r"\w*\$ ", line)]
            shown = [line for line in shown if "[OPTIONS]" not in line]
        lines += shown if kind in ("console", "sh") else []
    command = ""
    for line in lines:
        command += f"{line}\n"
        try:
            split = shlex.shlex(command, posix=True, punctuation_chars=True)
            split.whitespace_split = True
            words = [word or "''" for word in split]  # the shell's punctuation among them
        except ValueError:  # a quote that ends on a later line
            continue
        command = ""
        for is_end, part in groupby(words, lambda word: word in ("|", "&&", ";")):
            if not is_end:
                own = takewhile(lambda word: word[0] not in "<>", part)
                yield [*dropwhile(lambda word: re.match(r"[A-Z_]+=", word), own)]


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Number of the line, level and text of each heading."""
    tokens = _parsed(text)
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open" and opened.map:
            yield opened.map[0], int(opened.tag[1:]), inline.content
