"""What a model is made of, without its weights: published configurations, kept as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.errors import UsageError

CONFIGURATIONS = Path(__file__).parent / "configurations"
"""`NAME.json` a model, `processors/NAME.json` what models of a family share."""


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
    model = _read(CONFIGURATIONS / f"{name}.json")
    processor = _read(CONFIGURATIONS / "processors" / f"{model['processor']}.json")
    return Published(name, model["repo"], model["source"], model["config"], processor)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
