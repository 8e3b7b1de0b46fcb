"""Writes docs/dev/features.md: which features of a question hold on which ways to ask it.

`python -m benchmarks.features_page` writes the table of `loop/features.py`; a test holds the page
to it, and tests/server/local/test_features.py holds the table to what commands do.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.cells import head, line
from benchmarks.page import ROOT, put
from dycoke_cli.loop.features import FEATURES, LIMITS, WAYS, Limit, limit

PAGE = ROOT / "docs" / "dev" / "features.md"
_NAMES = {"flag": "FLAG", "url": "URL"}


def text() -> str:
    """The table, and below it the reasons by their numbers."""
    sentences = [*dict.fromkeys(map(_reason, LIMITS))]
    table = head("", *WAYS.values())
    for feature, shown in FEATURES.items():
        cells = []
        for way in WAYS:
            limited = limit(feature, way)
            number = 0 if limited is None else sentences.index(_reason(limited)) + 1
            cells.append(f"[{number}](#reasons)" if number else "✓")
        table.append(line(shown, *cells))
    numbered = [f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1)]
    return "\n".join([*table, "", "## Reasons", "", *numbered])


def _reason(limited: Limit) -> str:
    sentence = limited.sentence.format(**_NAMES)
    return f"Not yet: {sentence}" if limited.missing else f"{sentence[0].upper()}{sentence[1:]}"


def main(path: Path = PAGE) -> None:
    """Write them between the markers of the page."""
    put(text(), "features", path)


if __name__ == "__main__":
    main()
