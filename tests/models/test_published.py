"""The published configurations: as large as the published weights, and laid out as we say.

Each is built on the meta device, which holds no numbers, and its stock processor reads a clip.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import CATALOG, published
from dycoke_cli.models.families import family_of
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.models.load import byte_processor
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.stock_prompt import extra_inputs, make_prompt
from dycoke_cli.models.resolve import resolve_model
from tests.families.stock import one_of_each_kind
from tests.natural import Pictures

# `total_size` in the index files of the public repositories, by two bytes a number. Those that
# aren't exact are what the repositories' pages say.
PARAMETERS = {
    "llava-onevision-0.5b": 894e6,
    "llava-onevision-7b": 8.03e9,
    "llava-onevision-72b": 73.2e9,
    "qwen2-vl-2b": 2_208_985_600,
    "qwen2-vl-7b": 8_291_375_616,
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 8_292_166_656,
    "qwen3-vl-2b": 2_127_532_032,
    "qwen3-vl-4b": 4_437_815_808,
    "qwen3-vl-8b": 8_767_123_696,
    "glm-4.1v-9b": 10_292_777_472,
    "videollama3-2b": 1_959_993_584,
    "internvl3-1b": 938_193_024,
    "smolvlm2-500m": 507_482_304,
    "llava-next-video-7b": 7.06e9,
    "video-llava-7b": 7.37e9,
}
# Of a clip of 320 × 240: visual tokens a frame (a pair, where the model merges pairs), and how many
# of them 32 frames are. Squares of the papers' grids, and for the others what the public
# `smart_resize` gives.
LAYOUTS = {
    "llava-onevision": (14**2, 32),
    "llava-next-video": (12**2, 32),
    "video-llava": (16**2 + 1, 32),
    "internvl3": (16**2, 32),
    "smolvlm2": (8**2, 32),
    "qwen2-vl": (140, 16),
    "qwen2.5-vl": (140, 16),
    "qwen3-vl": (80, 16),
    "glm-4.1v": (99, 16),
    # 768 · 28² pixels for all 32 frames: 24 tokens each at most, and 4 · 5 in this shape.
    "videollama3": (20, 32),
}
NEWLINES = {"llava-onevision": 1}


def family_name(name: str) -> str:
    return next(family for family in LAYOUTS if name.startswith(f"{family}-"))


FIRST = {family_name(name): name for name in reversed(PARAMETERS)}.values()
"""One of each family: `make test` has these."""


@cache
def on_meta(name: str) -> Any:
    options = LoadOptions(device="cpu", dtype="bfloat16", random_weights=True)
    return resolve_model(name, options).build()


@pytest.mark.parametrize("name", one_of_each_kind(PARAMETERS, FIRST))
def test_parameters_are_as_many_as_published(name: str) -> None:
    count = sum(parameter.numel() for parameter in on_meta(name).parameters())
    known = PARAMETERS[name]
    assert count == (known if isinstance(known, int) else pytest.approx(known, rel=2e-3))


@pytest.mark.parametrize("name", one_of_each_kind(PARAMETERS, FIRST))
def test_the_layout_is_where_the_stock_processor_puts_the_video(name: str) -> None:
    model = on_meta(name)
    config, family = model.config, family_of(model.config)
    # Of ids between bytes and special tokens there are none: 150,000 would take a second.
    processor = byte_processor(published(name), 300)
    frames = np.random.default_rng(0).integers(0, 256, (32, 240, 320, 3), dtype=np.uint8)
    prompt = make_prompt(processor, family, config, Pictures.of(frames))
    per_frame, count = LAYOUTS[family_name(name)]
    assert (prompt.tokens_per_frame, prompt.frames) == (per_frame, count)

    ids = prompt.input_ids("What?")
    beside = extra_inputs([prompt], ids, family.rope)
    rows = family.placeholders(config, ids, beside)[0].nonzero().flatten()
    assert len(rows) == per_frame * count + NEWLINES.get(family_name(name), 0)
    layout = family.layouts(config, ids[0], positions_of(model, ids, beside), types_of(beside))[0]
    assert torch.equal(layout.index, rows[: per_frame * count])
    assert layout.frame.tolist() == [number // per_frame for number in range(per_frame * count)]


def types_of(beside: dict[str, torch.Tensor]) -> torch.Tensor | None:
    return beside[TYPES][0] if TYPES in beside else None


def positions_of(model: Any, ids: torch.Tensor, beside: dict[str, torch.Tensor]) -> Any:
    """As the stock model counts them in time, height and width; None where it doesn't."""
    if not hasattr(model.model, "get_rope_index"):
        return None
    places, _ = model.model.get_rope_index(input_ids=ids, **beside)
    return places[:, 0]


@pytest.mark.parametrize("name", PARAMETERS)
def test_special_tokens_have_the_ids_of_the_configuration(name: str) -> None:
    model = published(name)
    special = model.processor["tokenizer"]["special"]
    numbered = {
        key: value
        for key, value in model.config.items()
        if key.endswith(("_token_id", "_token_index"))
    }
    assert numbered
    assert set(numbered.values()) <= set(special.values())
    words = model.config["text_config"]["vocab_size"]
    assert max(special.values()) < words
    # A round number of rows, or as many as there are words.
    assert math.gcd(words, 64) == 64 or words == 151_674


@pytest.mark.parametrize("entry", [e for e in CATALOG.values() if e.state == "layout-tested"])
def test_the_catalog_agrees(entry: Any) -> None:
    model = published(entry.name)
    assert entry.family == model.config["model_type"]
    assert entry.parameters == pytest.approx(PARAMETERS[entry.name], rel=0.01)
    told = entry.clip_tokens(32, 240, 320)
    if told is None:  # its files have to be asked
        assert family_name(entry.name) == "videollama3"
        return
    assert (told.per_frame, told.frames) == LAYOUTS[family_name(entry.name)]


def test_the_catalog_says_which_are_tested() -> None:
    tested = {entry.name for entry in CATALOG.values() if entry.state == "layout-tested"}
    assert tested == set(CATALOG) & set(PARAMETERS)


def test_a_name_without_a_configuration() -> None:
    with pytest.raises(UsageError, match=r"knows the configurations of glm-4.1v-9b, .*; not of 'm"):
        published("mini")
