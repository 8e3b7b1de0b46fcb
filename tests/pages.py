"""The pages of the repository, as tests read them: their sections, anchors and links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^ *```")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one of its level or above.

    Args:
        name: of a page in docs.
        title: of the heading, as it stands there.
    """
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
