"""A video of text: the table and the sentences of pages, from the kept answers."""

from __future__ import annotations

import json
import lzma

from benchmarks.kept_tables import DATA
from tests.pages import on_one_line


def found(name: str) -> dict[tuple[str, str, str], list[bool]]:
    """Whether each fact was found, by number of frames, what is kept, and positions."""
    rows: dict[tuple[str, str, str], list[bool]] = {}
    lines = lzma.decompress((DATA / f"text-video-{name}.jsonl.xz").read_bytes()).splitlines()
    for line in map(json.loads, lines[1:]):
        for row in line["rows"]:
            key = str(line["frames"]), row["kind"], row["positions"]
            rows.setdefault(key, []).append(row["right"])
    return rows


def share(facts: list[bool]) -> str:
    return f"{100 * sum(facts) / len(facts):.1f} ± "


def test_what_the_pages_say_of_facts() -> None:
    """Recounted from the answers."""
    results, methods = map(on_one_line, ("docs/results.md", "docs/methods.md"))
    rows, of_gemma = found("smollm2"), found("gemma")
    positions = ("kept", "renumbered")
    assert "**SmolLM2** finds every fact, with either kind of positions" in results
    for frames in ("2", "4", "16"):
        assert all(all(rows[frames, "kept", one]) for one in positions)
        assert all(rows[frames, "merged", "renumbered"])
    drawn = share(rows["2", "random", "kept"]), share(rows["2", "random", "renumbered"])
    told = results.partition("As many random tokens find ")[2]
    assert told.startswith(tuple(f"{one}2.1 % of them at 2 copies and none" for one in drawn))
    assert not any(any(rows["16", "random", one]) for one in positions)
    whole, changed, merged = (
        share(of_gemma["16", *row])
        for row in (("whole", "kept"), ("kept", "renumbered"), ("merged", "renumbered"))
    )
    assert f"**Gemma** finds {changed}1.0 % at 16 copies with contiguous positions" in results
    assert f"where the whole video gives {whole}1.4 %." in results
    assert f"Merging costs it facts: {merged}2.5 %." in results
    assert "With original positions it finds none" in results
    assert not any(of_gemma["16", "kept", "kept"])
    assert f"{merged}2.5 % instead of {changed}" in methods
    own = share(rows["16", "merged", "kept"])
    assert f"SmolLM2-135M finds {own}1.2 % of the facts instead of all" in methods
    assert f"with merging and original positions {own}1.2 % at 16 copies" in results
