"""Writes the table of docs/models.md: each family, how its layout is known, what it can serve.

`python -m benchmarks.families --write` writes it; without the flag it is printed. What isn't in the
table of families is found here, on the tiny models of the tests.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.page import ROOT, put
from dycoke_cli.models.families import FAMILIES, Family
from dycoke_cli.models.families.discovery import find_layout
from tests.families.tiny import UNLISTED_MAKERS, make

PAGE = ROOT / "docs" / "models.md"
_TESTS = {"listed": "tests/families/test_matrix.py", "found": "tests/families/test_unlisted.py"}


def table(found: dict[str, Family]) -> str:
    """The table of those that are listed and those that were found, as Markdown."""
    alike: dict[tuple[str, str], list[str]] = {}
    for known, families in (("listed", FAMILIES), ("found", found)):
        for name, family in sorted(families.items()):
            alike.setdefault((methods(family), known), []).append(f"`{name}`")
    lines = ["| families | layout | methods |", "|---|---|---|"]
    for (served, known), names in sorted(alike.items(), key=_least_last):
        lines.append(f"| {', '.join(names)} | [{known}]({'../' + _TESTS[known]}) | {served} |")
    return "\n".join(lines)


def _least_last(row: tuple[tuple[str, str], list[str]]) -> tuple[bool, tuple[str, str]]:
    """Families that serve no method come behind the others."""
    return row[0][0].startswith("`none`"), row[0]


def methods(family: Family) -> str:
    """The methods that a family can serve, in words."""
    if family.only_none:
        return f"`none` alone: {family.only_none}"
    where = "all" if family.keeps_every_token else "before the language model"
    if not family.causal:
        where += " but inside the language model"
    lacks = [] if family.tower is not None else ["the vision encoder's attention"]
    if not family.encodes_parts:
        lacks.append("`--merge-stage vision`")
    return where + (f", without {' and '.join(lacks)}" if lacks else "")


def main() -> None:
    """Print the table, or write it."""
    found = {name: find_layout(*make(name, torch.float32), name) for name in UNLISTED_MAKERS}
    if "--write" in sys.argv[1:]:
        put(f"\n{table(found)}\n", "families", PAGE)
    else:
        print(table(found))


if __name__ == "__main__":
    main()
