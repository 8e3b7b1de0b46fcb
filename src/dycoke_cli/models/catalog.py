"""The models that have a short name, with what is known of them before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUNDLED_CHECKPOINT = Path(__file__).parent / "mini" / "checkpoint"


@dataclass(frozen=True)
class Entry:
    """A model of the catalog.

    Args:
        name: short name: family, version, size.
        repo: its repository on the model hub, or None for the bundled model.
        family: `model_type` of its configuration.
        parameters: how many.
        download_bytes: size of its weight files.
        tokens_per_frame: visual tokens a frame before any compression.
        prune_layer: the default of `--prune-layer`, for DyCoke.
        positions: the default of `--positions`, except for the published variant.
        state: "config-tested" (tiny random configuration of the stock class), "layout-tested" (its
            true configuration, and the stock processor on a clip) or "verified" (real weights).
        note: one line for a person who chooses.
    """

    name: str
    repo: str | None
    family: str
    parameters: int
    download_bytes: int
    tokens_per_frame: int
    prune_layer: int
    positions: str
    state: str
    note: str


_ENTRIES = (
    Entry(
        name="mini",
        repo=None,
        family="llava_onevision",
        parameters=5_500_000,
        download_bytes=0,
        tokens_per_frame=16,
        # Measured on held-out clips (docs/mini.md): earlier layers don't know yet what matters, and
        # renumbered tokens no longer say when they were.
        prune_layer=4,
        positions="kept",
        state="verified",
        note="in the package; knows only a world of moving shapes",
    ),
    Entry(
        name="llava-onevision-0.5b",
        repo="llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        family="llava_onevision",
        parameters=894_000_000,
        download_bytes=1_790_000_000,
        tokens_per_frame=196,
        prune_layer=3,
        positions="renumbered",
        state="layout-tested",
        note="the paper's smallest; runs on a CPU",
    ),
    Entry(
        name="llava-onevision-7b",
        repo="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        family="llava_onevision",
        parameters=8_030_000_000,
        download_bytes=16_100_000_000,
        tokens_per_frame=196,
        prune_layer=3,
        positions="renumbered",
        state="layout-tested",
        note="the paper's main model; 24 GB of GPU memory",
    ),
    Entry(
        name="llava-onevision-72b",
        repo="llava-hf/llava-onevision-qwen2-72b-ov-hf",
        family="llava_onevision",
        parameters=73_200_000_000,
        download_bytes=146_400_000_000,
        tokens_per_frame=196,
        prune_layer=3,
        positions="renumbered",
        state="layout-tested",
        note="the paper's largest; several GPUs",
    ),
)

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""By name, smallest first."""
