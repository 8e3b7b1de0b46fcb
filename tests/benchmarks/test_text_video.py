"""A video of text: the table and the sentences of pages, from the kept answers."""

from __future__ import annotations

import json
import lzma
from typing import Any

from benchmarks.kept_tables import DATA
from benchmarks.page import ROOT
from benchmarks.text_video import FRAMES, table


def test_the_table() -> None:
    def row(kind: str, positions: str, same: int, right: bool) -> dict[str, Any]:
        more = {"steps": 4, "first": same > 0, "same": same, "divergence": 4.0 - same}
        return {"kind": kind, "positions": positions, "right": right, **more}

    header = {"model": "m.gguf", "layers": 30, "machine": "here", "commit": "abc"}
    videos = [
        {"passage": n, "frames": frames, "tokens": 50 * frames, "kept": 60,
         "rows": [row("whole", "kept", 4, True), row("weighed", "renumbered", 4 * n, n == 1)]}
        for n in (0, 1) for frames in FRAMES
    ]  # fmt: skip
    videos[-1]["commit"] = "def"
    # A third passage was interrupted: the rows of all numbers of frames are of the same passages.
    wrong = row("whole", "kept", 4, False), row("weighed", "renumbered", 0, False)
    videos.append({**videos[0], "passage": 2, "rows": [*wrong]})
    made = table("\n".join(map(json.dumps, [header, *videos])).encode())
    assert "| 2 | 100 % | the whole video |  | 100 | 100 | 0 | 100.0 ± 0.0 |" in made
    half = "50.0 ± 91.9 | 50.0 ± 91.9 | 0.500 ± 0.919 | 50.0 ± 91.9 |"
    assert f"| 4 | 30 % | the same, proportional attention | contiguous | {half}" in made
    assert "\n\n2 passages of 50 tokens on average" in made
    assert made.endswith("here, commit abc, def.")


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
    results, methods = (
        " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
        for page in ("results.md", "methods.md")
    )
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
