"""Cache of discovered layouts, as small JSON files in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import __version__

from dycoke_cli.models.discovery.layout_search import FixedTokens, find_layout
from dycoke_cli.models.families import UNLISTED, Discovered, Family
from dycoke_cli.models.prompts.stock_processor import takes_images_only
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.private_file import read_own

# Types in the JSON file. `per_frame` and `rope` aren't plain values and are stored separately.
_FAMILY_FIELDS: dict[str, type] = {
    "one_run": bool, "tail": int, "least_frames": int, "keeps_every_token": bool, "only_none": str,
}  # fmt: skip
_DISCOVERED_FIELDS: dict[str, type] = {
    "token_id": int, "vision_inputs": list, "exact_frames": int, "token_types": bool,
    "as_images": bool, "temporal_patch_size": int, "needs_frame_count": bool,
}  # fmt: skip
_FIELDS = _FAMILY_FIELDS | _DISCOVERED_FIELDS
_LEAST = {
    "tail": 0, "least_frames": 0, "token_id": 0, "exact_frames": 1, "temporal_patch_size": 1,
    "per_frame": 1,
}  # fmt: skip
"""The least value of each number that isn't None."""
_MAX_BYTES = 4096


def found_layout(model: Any, processor: Any, name: str) -> Family:
    """The layout of a model outside the table: cached, or discovered at its first load."""
    file = _file(model, processor)
    cached = _read(file)
    if cached is not None:
        return cached
    found = find_layout(model, processor, name)
    with contextlib.suppress(OSError):  # the next run searches again
        _write(file, found)
    return found


def _file(model: Any, processor: Any) -> Path:
    """Path of the cached layout, by a hash of all that the layout depends on.

    Weights aren't part of it: a layout follows from code, configuration and processor.
    """
    alone = takes_images_only(processor)
    pixel_processor = processor.image_processor if alone else processor.video_processor
    parts = (
        __version__,
        model.config.to_json_string(),
        *(type(part).__name__ for part in (model, processor)),
        pixel_processor.to_json_string(),
        str(processor.chat_template),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return kept("layouts") / f"{digest[:24]}.json"


def _read(file: Path) -> Family | None:
    """The cached family; None if there is none, or the file is damaged or of another version."""
    try:
        values = json.loads(read_own(file, _MAX_BYTES))
        if any(values[name] is not None and values[name] < least for name, least in _LEAST.items()):
            return None
        per_frame, grid = values.pop("per_frame"), values.pop("grid")
        if values.keys() != _FIELDS.keys():
            return None
        for name, kind in _FIELDS.items():
            missing = values[name] is None and name in ("token_id", "exact_frames")
            # Not isinstance: True is an int, too.
            if not missing and type(values[name]) is not kind:
                return None
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not all(isinstance(name, str) for name in values["vision_inputs"]):
        return None
    found = {name: values[name] for name in _DISCOVERED_FIELDS}
    return replace(
        UNLISTED,
        **{name: values[name] for name in _FAMILY_FIELDS},
        per_frame=FixedTokens(per_frame) if type(per_frame) is int else None,
        rope=("position_ids",) if grid is True else (),
        discovered=Discovered(**found | {"vision_inputs": tuple(values["vision_inputs"])}),
    )


def _write(file: Path, family: Family) -> None:
    per_frame = family.per_frame
    values = {name: getattr(family, name) for name in _FAMILY_FIELDS}
    values |= {name: getattr(family.discovered, name) for name in _DISCOVERED_FIELDS}
    values["per_frame"] = per_frame.tokens if isinstance(per_frame, FixedTokens) else None
    values["grid"] = bool(family.rope)
    write_whole(file, json.dumps(values, indent=1))
