"""The models that have a short name, with what is known of them before anything is loaded."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.models.frame_sizes import ClipTokens, FittedShape, KeptShape
from dycoke_cli.models.published import published_names

BUNDLED_CHECKPOINT = Path(__file__).parent / "mini" / "checkpoint"

STATES = {
    "config-tested": "its stock class ran with a small random configuration",
    "layout-tested": "so did its true configuration, with random weights",
    "verified": "its real weights answered",
}
"""How far a model was tested, and what that means; each includes the one before it."""

_DATA = Path(__file__).with_name("catalog.toml")
_PUBLISHED = published_names()
_SHAPES = {"kept": KeptShape, "fitted": FittedShape}


@dataclass(frozen=True)
class Entry:
    """A model of the catalog. None stands for what isn't known.

    Args:
        name: short name: family, version, size.
        repo: its repository on the model hub, or None for the bundled model.
        family: `model_type` of its configuration.
        parameters: how many.
        download_bytes: size of its weight files.
        tokens_per_frame: visual tokens a frame before any compression, where that is one number.
        shape: how the tokens of a frame follow from its shape, where they do.
        state: how far it was tested, one of `STATES`.
        note: one line for a person who chooses.
    """

    name: str
    repo: str | None
    family: str
    parameters: int | None
    download_bytes: int | None
    tokens_per_frame: int | None
    shape: KeptShape | FittedShape | None
    state: str
    note: str

    def clip_tokens(self, frames: int, height: int, width: int) -> ClipTokens | None:
        """The visual tokens of a clip, or None where its files have to be asked.

        Args:
            frames: pictures that are shown.
            height: of each, in pixels.
            width: of each, in pixels.

        Raises:
            UsageError: a picture that the model refuses.
        """
        if self.tokens_per_frame is not None:
            return ClipTokens(frames, self.tokens_per_frame)
        return self.shape.tokens(frames, height, width) if self.shape is not None else None


def _read() -> dict[str, Entry]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    entries = [_entry(data["families"][model["family"]] | model) for model in data["models"]]
    return {entry.name: entry for entry in entries}


def _entry(values: dict[str, Any]) -> Entry:
    shape = dict(values.get("shape", {}))
    # A configuration that is in the package is held against its layout by the tests.
    tested = "layout-tested" if values["name"] in _PUBLISHED else "config-tested"
    return Entry(
        name=values["name"],
        repo=values.get("repo"),
        family=values["family"],
        parameters=values.get("parameters"),
        download_bytes=values.get("download_bytes"),
        tokens_per_frame=values.get("tokens_per_frame"),
        shape=_SHAPES[shape.pop("rule")](**shape) if shape else None,
        state=values.get("state", tested),
        note=values["note"],
    )


CATALOG: dict[str, Entry] = _read()
"""By name: the bundled model, then family by family, the smallest of each first."""
