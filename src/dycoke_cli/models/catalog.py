"""Model catalog, its rules for tokens per frame, and what a name means; needs no torch."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dycoke_cli.errors import ModelError, UsageError, did_you_mean
from dycoke_cli.models.devices import BYTES_PER_PARAMETER, HEADROOM, FreeMemory, Target
from dycoke_cli.models.files.small_files import NOT_GGUF, check_folder
from dycoke_cli.models.load_options import BUNDLED_FOLDER

BUNDLED_CHECKPOINT = BUNDLED_FOLDER / "checkpoint"

STATES = {
    "config-tested": "architecture tested with a tiny random config",
    "layout-tested": "architecture tested with its own config and random weights",
    "verified": "ran with its real weights",
}
"""Test states, and what each means; each includes the one before it."""

CONFIGURATIONS = Path(__file__).parent / "configurations"
"""`NAME.json` per model, `processors/NAME.json` for what the models of a family share."""

_DATA = Path(__file__).with_name("catalog.toml")

# Visual tokens per clip, computed from the frame size. The rules are those of the stock video
# processors of `transformers`; a test compares them.


@dataclass(frozen=True)
class ClipTokens:
    """Visual tokens of a clip, before any compression, and the text that stands between them."""

    frames: int  # number of encoded frames: pairs, where the model merges pairs
    per_frame: int  # tokens per encoded frame
    # tokens of text that the prompt has for the frames: times, separators, an introduction
    text: int = 0

    @property
    def visual(self) -> int:
        """Number of visual tokens of the clip."""
        return self.frames * self.per_frame

    def frames_in_window(self, shown: int, size: int) -> int:
        """Encoded frames of a window of `size` images, of `shown` that the clip has."""
        return max(1, min(self.frames, size * self.frames // shown))

    def of_frames(self, frames: int) -> ClipTokens:
        """The same clip with so many encoded frames, and as much of its text."""
        return ClipTokens(frames, self.per_frame, math.ceil(self.text * frames / self.frames))


@dataclass(frozen=True)
class KeptShape:
    """Dynamic resolution: frames keep their aspect ratio and are scaled to a number of pixels."""

    side: int  # pixels per side of the square that becomes one token
    least: int  # minimum number of pixels
    most: int  # maximum number of pixels
    # scope of the limits: each "frame"; the whole "clip"; or "share": each frame, with the maximum
    # divided by the number of frames
    limits: Literal["frame", "clip", "share"]
    merged: int  # input frames per encoded frame (temporal patch size)

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """Tokens of a clip of `frames` images of `height` × `width` pixels."""
        # A shorter clip is padded with its last frame.
        frames = max(frames, self.merged)
        # Those processors enlarge a frame that is narrower than one token first.
        if self.limits == "clip" and min(height, width) < self.side:
            scale = max(self.side / height, self.side / width)
            height, width = int(height * scale), int(width * scale)
        rows, columns = self._grid(frames, height, width)
        return ClipTokens(math.ceil(frames / self.merged), rows * columns)

    def _grid(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens in a frame.

        The stock rule (`smart_resize`): round each side to whole tokens. If that leaves too many or
        too few pixels, scale both sides by the square root of the ratio, and round down or up.
        """
        rows, columns = round(height / self.side), round(width / self.side)
        counted, exact, most = 1, 1, self.most
        if self.limits == "clip":
            # The stock code compares a rounded number of frames with the limits, but scales by the
            # true number. Both are repeated here, because they decide about whole rows.
            counted, exact = round(frames / self.merged) * self.merged, frames
        if self.limits == "share":
            most //= frames
        pixels = counted * rows * columns * self.side**2
        if pixels > most:
            shrink = math.sqrt(exact * height * width / most)
            rows = max(1, math.floor(height / shrink / self.side))
            columns = max(1, math.floor(width / shrink / self.side))
        elif pixels < self.least:
            grow = math.sqrt(self.least / (exact * height * width))
            rows = math.ceil(height * grow / self.side)
            columns = math.ceil(width * grow / self.side)
        return rows, columns


@dataclass(frozen=True)
class FittedShape:
    """Frames scaled to the largest grid of their aspect ratio within a number of tokens."""

    side: int  # pixels per side of the square that becomes one token
    most_tokens: int  # maximum per frame

    def tokens(self, frames: int, height: int, width: int) -> ClipTokens:
        """Tokens of a clip of `frames` images of `height` × `width` pixels."""
        scale = math.sqrt(self.most_tokens * self.side**2 / (height * width))
        rows = math.floor(scale * height / self.side)
        columns = math.floor(scale * width / self.side)
        # A grid less than one token high or wide becomes a single row or column.
        if rows == 0:
            rows, columns = 1, min(width // height, self.most_tokens)
        elif columns == 0:
            rows, columns = min(height // width, self.most_tokens), 1
        return ClipTokens(frames, rows * columns)


_SHAPES = {"kept": KeptShape, "fitted": FittedShape}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Model of the catalog; unknown values are None."""

    name: str  # short name: family, version, size
    repo: str | None = None  # repository on the model hub; None for the bundled model
    family: str  # `model_type` of its configuration
    parameters: int | None = None  # number of parameters
    download_bytes: int | None = None  # size of its weight files
    # visual tokens per frame before any compression, if constant
    tokens_per_frame: int | None = None
    # rule that computes the tokens of a frame from its size, if they aren't constant
    shape: KeptShape | FittedShape | None
    frame_text: int = 0  # tokens of text per encoded frame: its time, and what separates it
    clip_text: int = 0  # tokens of text that introduce the video
    state: str  # test state, one of `STATES`
    note: str  # one-line description

    def clip_tokens(self, frames: int, height: int, width: int) -> ClipTokens | None:
        """Tokens of a clip; None if only the model's processor can count them."""
        if self.tokens_per_frame is not None:
            clip = ClipTokens(frames, self.tokens_per_frame)
        elif self.shape is not None:
            clip = self.shape.tokens(frames, height, width)
        else:
            return None
        return replace(clip, text=self.clip_text + clip.frames * self.frame_text)

    def fits(self, machine: FreeMemory) -> str | None:
        """Where it fits in its stored dtype: "gpu", "ram" or "no"; None if unknown.

        Only size counts: a large model in main memory fits, but is slow.
        """
        if self.parameters is None:
            return None
        weights = self.download_bytes or BYTES_PER_PARAMETER * self.parameters
        return Target.of("auto", machine).fits(int(HEADROOM * weights))


@dataclass(frozen=True)
class PublishedConfig:
    """Published configuration of a model."""

    config: dict[str, Any]  # content of its config.json
    # `class` of the stock processor, its `settings`, those of its `image_processor` and
    # `video_processor` with a `class` each, `tokenizer` (ids of `special` tokens, which of them are
    # `named`, `pad`), and the lines of its `chat_template`
    processor: dict[str, Any]


def published_names() -> list[str]:
    """Names of the models whose configuration is in the package."""
    return sorted(path.stem for path in CONFIGURATIONS.glob("*.json"))


def published(name: str) -> PublishedConfig:
    """Read the published configuration of a model."""
    if name not in published_names():
        raise UsageError(
            f"--random-weights knows the configurations of {', '.join(published_names())}; "
            f"not of {name!r}"
        )
    model = _json(CONFIGURATIONS / f"{name}.json")
    processor = _json(CONFIGURATIONS / "processors" / f"{model['processor']}.json")
    return PublishedConfig(model["config"], processor)


def _read_catalog() -> dict[str, Entry]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    layout_tested = published_names()
    entries = [
        # Values of a model override those that its family's models have in common.
        _entry(data["families"][model["family"]] | model, layout_tested)
        for model in data["models"]
    ]
    return {entry.name: entry for entry in entries}


def _entry(values: dict[str, Any], layout_tested: list[str]) -> Entry:
    shape = dict(values.pop("shape", {}))
    # The tests run each published configuration with random weights and check its layout.
    tested = "layout-tested" if values["name"] in layout_tested else "config-tested"
    made = _SHAPES[shape.pop("rule")](**shape) if shape else None
    return Entry(shape=made, **{"state": tested} | values)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


CATALOG: dict[str, Entry] = _read_catalog()
"""By name: the bundled model, then family by family, the smallest of each first."""


# Finds a model by catalog name, folder or hub id; needs no torch, and downloads nothing.


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelRef:
    """Reference to a model: its name and the location of its files."""

    name: str  # for reports and errors
    location: str  # a local folder, or a hub id
    entry: Entry | None  # of the catalog, or None
    local: bool  # whether `location` is a folder
    flag: str = "--model"  # that names it


_HOSTED = re.compile(r"(gpt|chatgpt|claude|gemini|grok|o\d)-", re.IGNORECASE)


def find(name: str) -> ModelRef:
    """Find a model by catalog name, folder or hub id; nothing is downloaded."""
    # A catalog name wins over a folder of that name, so that a folder `mini` in the current one
    # doesn't change the meaning of a script. `./mini` is always the folder.
    entry = CATALOG.get(name)
    if entry is not None:
        location = str(BUNDLED_CHECKPOINT) if entry.repo is None else entry.repo
        return ModelRef(name, location, entry, local=entry.repo is None)
    if os.path.isdir(name):
        check_folder(Path(name))
        return ModelRef(name, name, None, local=True)
    if name.lower().endswith(".gguf"):
        raise ModelError(f"{name!r} is a file, {NOT_GGUF}")
    if os.path.exists(name):
        raise ModelError(f"{name!r} is a file; give the folder that holds the model")
    if "://" in name:
        raise ModelError(
            f"{name!r} is an address; give the model's hub id (--model OWNER/NAME) or a folder"
        )
    # "./model" and "../model" look like hub ids, but are misspelt folders.
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return ModelRef(name, name, None, local=False)
    # Ollama's names have a tag, as llava:7b.
    stem = name.lower().partition(":")[0]
    alike = [entry for entry in CATALOG.values() if stem in entry.name]
    if len(alike) > 1:
        hint = f"did you mean {alike[0].name}? `dycoke models {stem}` lists them"
    else:
        name_alike = alike[0].name if alike else name
        hint = did_you_mean(name_alike, CATALOG, "`dycoke models` lists all names")
    if _HOSTED.match(name):
        hint = "what a service has is asked with --server URL --model NAME"
    raise ModelError(f"there is no model {name!r} and no such folder; {hint}")
