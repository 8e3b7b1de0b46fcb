"""Texts speak the field's language: retired wordings stay out of pages, help and messages."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted((ROOT / "src").rglob("*.py"))
TABLES = [*sorted((ROOT / "src").rglob("*.toml")), ROOT / "pyproject.toml"]

RETIRED = {
    # baselines and tables
    r"uncompressed (?:model|row|answer)": "baseline",
    r"right to the letter|told right": "exact match",
    r"plain (?:transformers|kernels)": "transformers baseline, stock kernels",
    r"our (?:own )?kernels": "custom CPU kernels",
    r"linear layers alone": "GEMM-only lower bound",
    r"\bin all, s\b|\ba token, ms\b|\bfirst token, s\b": "end to end, TPOT, TTFT",
    r"peak over weights": "peak memory, excluding weights",
    r"tokens? looked back at|looked back at \d|read again at each step": "attended",
    r"tokens of the video read": "visual tokens at prefill",
    # selection
    r"choices? (?:is |are )?renewed|choose anew": "reselections, reselect",
    r"overlooked tokens": "visual-token dropout",
    r"the share that waits": "the fraction evicted from attention",
    r"do stage 2 only": "prune the KV cache only if",
    r"stands? for (?:it|them|each other|the cluster)\b": "represents",
    r"most of whose steps read|reads? every token": "attends to",
    # models
    r"number format": "dtype",
    r"asks for a login": "gated",
    r"at work on a token": "active parameters",
    r"tuned on preferences": "DPO-tuned",
    r"thinks aloud": "reasoning model",
    r"keep their shape": "dynamic resolution",
    r"knows true time": "absolute time encoding",
    r"so did its|real weights answered|stock class ran": "architecture tested with …",
    r"as a cpu wants": "CPU weight layouts",
    r"its own world": "which only understands …",
    r"the (?:names|models) there are": "all names, all models",
    r"answers from now on": "default model set to …",
    r"the hub's own settings": "Hugging Face environment variables are honoured",
    r"\bour (?:own )?attention\b|attention functions? of ours": "custom attention",
    r"nobody can be asked": "there is no terminal to confirm on",
    r"everything (?:that is )?known of": "the details of",
    # generation
    r"the likeliest token|draws more freely|of the draws": "greedy, sampling",
    r"cut the answer at": "maximum new tokens",
    r"how an answer is written": "generation options",
    # progress
    r"looking at frame|reading frame|taking in the question|writing token": "encoding, prefill, …",
    # runs
    r"broken off": "interrupted",
    r"goes on (?:where|from)|go(?:es)? on from there": "resumes",
    r"by the name no video": "without a video extension",
    r"damaged packets? (?:was|were) left out|can't serve all methods; left out": "skipped",
    r"puts the folders of all together": "merges the folders",
    r"were answered before": "done already",
    r"can be sent in": "write a report",
    r"browses what": "lists every prediction",
    # sentences
    r"version and leave": "and exit",
    r"redundant (?:visual )?tokens left out": "visual token compression",
    r"are all it takes": "requires",
    r"what is (?:read|left out|asked)\b": "frame sampling, compression, benchmark",
    r"what that saves": "how it works",
    r"(?:\b(?:one|object|path|question|value|row|key)|\d) a line\b|\ba line each\b": "per line",
    r"\b(?:one number|object) a (?:channel|question)\b": "per",
    r"\b(?:tokens|scale|second|seconds|number|row) an? (?:frame|token|second|group)\b": "per",
}


@functools.cache
def texts(path: Path) -> list[str]:
    """A page or a table, or the string literals of a module, each on one line."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [" ".join(content.split())]
    return [
        " ".join(node.value.split())
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("wording", RETIRED)
def test_a_retired_wording_is_nowhere(wording: str) -> None:
    pattern = re.compile(wording, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: …{text[max(0, match.start() - 40) : match.end() + 30]}…"
        for path in (*PAGES, *TABLES, *MODULES)
        for text in texts(path)
        for match in pattern.finditer(text)
    ]
    assert not found, f"{RETIRED[wording]!r} is the term; found\n" + "\n".join(found)


def test_the_wordings_would_be_found() -> None:
    """The patterns match what they are about, so that none is spoilt by its punctuation."""
    old = (
        "One JSON object a line. 0 takes the likeliest token. Print the version and leave. "
        "16 tokens a frame; a token, ms. The models there are; it goes on where it was broken off."
    )
    assert sum(bool(re.search(wording, old, re.IGNORECASE)) for wording in RETIRED) == 8
