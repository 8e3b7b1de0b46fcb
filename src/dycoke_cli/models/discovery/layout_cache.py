"""What the search for a layout found of a model, kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import __version__

from dycoke_cli.models.discovery.layout_search import Always, find_layout
from dycoke_cli.models.families import UNLISTED, Family
from dycoke_cli.models.prompts.stock_processor import takes_pictures_alone
from dycoke_cli.storage.cache_folder import cache_folder, write_whole

_KEPT: dict[str, type] = {
    "token_id": int, "one_run": bool, "tail": int, "least_frames": int, "exact_frames": int,
    "typed": bool, "as_pictures": bool, "frames_told": bool, "merged": int,
    "keeps_every_token": bool, "vision_inputs": list,
    "only_none": str,
}  # fmt: skip
_MOST_BYTES = 4096


def found_layout(model: Any, processor: Any, name: str) -> Family:
    """The layout of a model that the table doesn't know, searched for at its first load.

    Args:
        model: stock, as it was loaded.
        processor: its stock processor.
        name: of the model.

    Raises:
        ModelError: the stock class can't be shown a video at all.
    """
    file = _file(model, processor)
    kept = _read(file)
    if kept is None:
        kept = find_layout(model, processor, name)
        with contextlib.suppress(OSError):  # the next run searches again
            _write(file, kept)
    return kept


def _file(model: Any, processor: Any) -> Path:
    """Where it is kept: by all that it depends on, the weights excepted."""
    alone = takes_pictures_alone(processor)
    shows = processor.image_processor if alone else processor.video_processor
    parts = (
        __version__,
        model.config.to_json_string(),
        *(type(part).__name__ for part in (model, processor)),
        shows.to_json_string(),
        str(processor.chat_template),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return cache_folder() / "layouts" / f"{digest[:24]}.json"


def _read(file: Path) -> Family | None:
    """The family that is kept; None where none is, or the file is damaged."""
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return None
        values = json.loads(file.read_text(encoding="utf-8"))
        per_frame, grid = values.pop("per_frame"), values.pop("grid")
        if values.keys() != _KEPT.keys():
            return None
        if values["merged"] < 1:
            return None
        for name, kind in _KEPT.items():
            missing = values[name] is None and name in ("token_id", "exact_frames")
            if not missing and type(values[name]) is not kind:
                return None
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not all(isinstance(name, str) for name in values["vision_inputs"]):
        return None
    return replace(
        UNLISTED,
        **values | {"vision_inputs": tuple(values["vision_inputs"])},
        per_frame=Always(per_frame) if type(per_frame) is int else None,
        rope=("position_ids",) if grid is True else (),
    )


def _write(file: Path, family: Family) -> None:
    per_frame = family.per_frame
    values = {name: getattr(family, name) for name in _KEPT} | {
        "per_frame": per_frame.tokens if isinstance(per_frame, Always) else None,
        "grid": bool(family.rope),
    }
    write_whole(file, json.dumps(values, indent=1))
