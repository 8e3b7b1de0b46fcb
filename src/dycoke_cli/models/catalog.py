"""Models before loading: the catalog, and configurations as plain JSON.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.frame_tokens import ClipTokens, FittedShape, KeptShape

BUNDLED_CHECKPOINT = Path(__file__).parent / "mini" / "checkpoint"

STATES = {
    "config-tested": "architecture tested with a tiny random config",
    "layout-tested": "architecture tested with its own config and random weights",
    "verified": "ran with its real weights",
}
"""Test states, and what each means; each includes the one before it."""

CONFIGURATIONS = Path(__file__).parent / "configurations"
"""`NAME.json` per model, `processors/NAME.json` for what the models of a family share."""

_DATA = Path(__file__).with_name("catalog.toml")
_SHAPES = {"kept": KeptShape, "fitted": FittedShape}


@dataclass(frozen=True)
class Entry:
    """A model of the catalog; None where a value isn't known.

    Args:
        name: short name: family, version, size.
        repo: its repository on the model hub, or None for the bundled model.
        family: `model_type` of its configuration.
        parameters: how many.
        download_bytes: size of its weight files.
        tokens_per_frame: visual tokens per frame before any compression, where that is one number.
        shape: how the tokens of a frame follow from its shape, where they do.
        state: test state, one of `STATES`.
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


@dataclass(frozen=True)
class Published:
    """A model as its makers published it.

    Args:
        name: short name: family, version, size.
        repo: its repository on the model hub.
        source: where the values were read.
        config: what its config.json says.
        processor: `class` of the stock processor, its `settings`, those of its `image_processor`
            and `video_processor` with a `class` each, `tokenizer` (ids of `special` tokens, which
            of them are `named`, `pad`), and the lines of its `chat_template`.
    """

    name: str
    repo: str
    source: str
    config: dict[str, Any]
    processor: dict[str, Any]


def published_names() -> list[str]:
    """The models whose configuration is in the package."""
    return sorted(path.stem for path in CONFIGURATIONS.glob("*.json"))


def published(name: str) -> Published:
    """The configuration of a model.

    Raises:
        UsageError: there is none in the package.
    """
    if name not in published_names():
        raise UsageError(
            f"--random-weights knows the configurations of {', '.join(published_names())}; "
            f"not of {name!r}"
        )
    model = _json(CONFIGURATIONS / f"{name}.json")
    processor = _json(CONFIGURATIONS / "processors" / f"{model['processor']}.json")
    return Published(name, model["repo"], model["source"], model["config"], processor)


def _read_catalog() -> dict[str, Entry]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    layout_tested = published_names()
    entries = [
        _entry(data["families"][model["family"]] | model, layout_tested) for model in data["models"]
    ]
    return {entry.name: entry for entry in entries}


def _entry(values: dict[str, Any], layout_tested: list[str]) -> Entry:
    shape = dict(values.get("shape", {}))
    # A configuration that is in the package is held against its layout by the tests.
    tested = "layout-tested" if values["name"] in layout_tested else "config-tested"
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


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


CATALOG: dict[str, Entry] = _read_catalog()
"""By name: the bundled model, then family by family, the smallest of each first."""
