"""The pages of the repository, as tests read them: sections, anchors, links and commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from itertools import dropwhile, groupby, takewhile
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "training").glob("*.md")),
    ROOT / "src" / "dycoke_cli" / "share" / "SKILL.md",
    *sorted((ROOT / "plugins").glob("*/*.md")),
]
_FENCE = re.compile(r"^ *```")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SHELL = re.compile(r"^ *```(console|sh)\b.*?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def on_one_line(page: str) -> str:
    """The text of a page, without its line breaks."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    lines = (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines(keepends=True)
    found = [(at, level) for at, level, heading in _headings(lines) if heading == title]
    ((begin, level),) = found
    ends = [at for at, other, _ in _headings(lines) if at > begin and other <= level]
    return "".join(lines[begin + 1 : ends[0] if ends else None])


def anchors(text: str) -> list[str]:
    """The names by which the headings of a page can be linked, as GitHub makes them."""
    seen, found = Counter[str](), list[str]()
    for _, _, heading in _headings(text.splitlines()):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def links(text: str) -> list[str]:
    """What a page links to within the repository, outside of code."""
    lines = [line for line, is_code in _lines(text.splitlines()) if not is_code]
    prose = re.sub(r"`[^`\n]*`(?!\])", "", "\n".join(lines))
    return [target for target in _LINK.findall(prose) if not re.match(r"\w+:", target)]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a page's blocks of a shell; each part of a pipe is one.

    Comments, variables in front, redirections and the usage of docs/reference.md are left out.
    """
    for kind, block in _SHELL.findall(text):
        lines = dedent(block).replace("\\\n", " ").splitlines()
        if kind == "console":
            lines = [line.partition("$ ")[2] for line in lines if re.match(r"\w*\$ ", line)]
            lines = [line for line in lines if "[OPTIONS]" not in line]
        command = ""
        for line in lines:
            command += f"{line}\n"
            try:
                words = _words(command)
            except ValueError:  # a quote that ends on a later line
                continue
            command = ""
            for is_end, part in groupby(words, lambda word: word in ("|", "&&", ";")):
                if not is_end:
                    own = takewhile(lambda word: word[0] not in "<>", part)
                    yield [*dropwhile(lambda word: re.match(r"[A-Z_]+=", word), own)]


def _words(command: str) -> list[str]:
    """The words of a line, with the shell's punctuation as words."""
    split = shlex.shlex(command, posix=True, punctuation_chars=True)
    split.whitespace_split = True
    return [word or "''" for word in split]


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Number of the line, level and text of each heading."""
    for at, (line, is_code) in enumerate(_lines(lines)):
        if not is_code and (heading := re.match(r"(#+) (.*)", line)):
            yield at, len(heading[1]), heading[2]


def _lines(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is in a block of code."""
    is_code = False
    for line in lines:
        is_fence = bool(_FENCE.match(line))
        yield line, is_code or is_fence
        is_code ^= is_fence


def blocks(language: str, page: str) -> list[str]:
    """The fenced blocks of a language, also those of list items."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    return [dedent(block) for block in found]
