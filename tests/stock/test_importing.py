"""Imports that are fast, and sizes read off stock configurations."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from logging import ERROR, INFO, getLogger
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from torch import nn
from transformers.utils import logging as messages

from dycoke_cli.engine.memory.sizes import Sizes, VisionSizes
from dycoke_cli.stock.private_api import auto_class
from dycoke_cli.stock.quiet import faster_imports, quiet_libraries, silence_libraries
from tests.families.tiny import MAKERS
from tests.marks import EXTENDED


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_waits_and_is_then_as_it_was(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError), faster_imports():
            importlib.import_module("none.of.this_name" if not gc.isenabled() else "gc")
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def test_what_was_imported_is_never_looked_through_again() -> None:
    with faster_imports():
        made = [[]]
    assert all(one is not made for one in gc.get_objects())
    assert gc.get_freeze_count() > 1000


LOGGERS = [getLogger(name) for name in ("accelerate", "bitsandbytes", "torch.utils._pytree")]


def heard() -> tuple[Any, ...]:
    """What lets messages of libraries through: levels, progress bars, the filter of warnings."""
    levels = [logger.level for logger in LOGGERS]
    bars = messages.is_progress_bar_enabled()
    return messages.get_verbosity(), bars, *levels, warnings.filters[0][0]


@pytest.fixture
def loud() -> Iterator[tuple[Any, ...]]:
    """Everything is let through."""
    verbosity, bars, *levels, _ = heard()
    messages.set_verbosity_info()
    messages.enable_progress_bar()
    for logger in LOGGERS:
        logger.setLevel(INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield heard()
    for logger, level in zip(LOGGERS, levels, strict=True):
        logger.setLevel(level)
    messages.set_verbosity(verbosity)
    (messages.enable_progress_bar if bars else messages.disable_progress_bar)()


def test_libraries_are_silent_within_the_block_and_as_before_behind_it(loud: Any) -> None:
    assert loud == (INFO, True, INFO, INFO, INFO, "error")
    with quiet_libraries():
        assert heard() == (ERROR, False, ERROR, ERROR, INFO, "error")
    assert heard() == loud
    messages.disable_progress_bar()
    with quiet_libraries():
        pass
    assert not messages.is_progress_bar_enabled()


def test_libraries_are_silent_for_the_rest_but_for_who_debugs(
    loud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYCOKE_DEBUG", "1")
    silence_libraries()
    assert heard() == loud
    monkeypatch.delenv("DYCOKE_DEBUG")
    silence_libraries()
    assert heard() == (ERROR, True, INFO, INFO, ERROR, "ignore")


def test_a_model_that_is_shown_pictures_has_the_class_for_them() -> None:
    config = MAKERS["llava_onevision"]()[0].config
    assert auto_class(config) is transformers.AutoModelForImageTextToText


@pytest.mark.extended
def test_no_library_complains_at_the_end_that_something_of_it_is_left() -> None:
    """Triton's bindings count what nobody has collected, and say so on stderr."""
    code = (
        "from dycoke_cli.stock.quiet import faster_imports\n"
        "with faster_imports(): import dycoke_cli.engine.session"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""


# Of Gemma 4 the last layers read the keys of others, and of Qwen 3.5 most have none.
OTHERS = ("gemma4", "qwen3_5")
FIRST = ("llava_onevision", "qwen2_5_vl", "molmo2", "internvl")
SOME = [
    pytest.param(name, marks=() if name in FIRST else EXTENDED)
    for name in MAKERS
    if not name.startswith(OTHERS)
]


def outputs(model: Any, layer: int) -> dict[str, int]:
    """Outputs of the linear layers of one layer, by the last word of their names."""
    parts = model.get_decoder().layers[layer].named_modules()
    return {n.rpartition(".")[2]: p.out_features for n, p in parts if isinstance(p, nn.Linear)}


@pytest.mark.parametrize("family", SOME)
def test_sizes_are_those_of_the_weights(family: str) -> None:
    model = MAKERS[family]()[0]
    sizes, linear = Sizes.of(model.config), outputs(model, 0)
    assert sizes.hidden == model.get_input_embeddings().embedding_dim
    assert sizes.layers == len(model.get_decoder().layers)
    if "k_proj" in linear:
        assert sizes.kv == sizes.layers * (linear["k_proj"] + linear["v_proj"])
    if "gate_proj" in linear:
        assert sizes.mlp == linear["gate_proj"]


def test_layers_that_differ_count_each_by_itself() -> None:
    model = MAKERS["gemma4"]()[0]
    sizes, layers = Sizes.of(model.config), [outputs(model, n) for n in range(6)]
    assert [layer["q_proj"] for layer in layers] == [32, 32, 64, 32, 32, 64]
    # As many heads of keys as half of the queries', also where another layer's are read.
    assert sizes.kv == sum(layer["q_proj"] for layer in layers)
    assert sizes.mlp == 48


def test_a_tower_with_other_names_and_one_that_there_is_none_of() -> None:
    qwen = SimpleNamespace(
        depth=32,
        embed_dim=1280,
        hidden_size=1536,
        patch_size=14,
        spatial_merge_size=2,
    )
    found = VisionSizes.of(qwen)
    assert (found.layers, found.hidden, found.mlp) == (32, 1280, 4 * 1280)
    assert found.patches_of_frame(100) == 400
    assert VisionSizes.of(None).hidden == 0
