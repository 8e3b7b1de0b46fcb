"""One place decides which prune layer and positions suit a model; all that names them agrees."""

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig

from dycoke_cli import DyCoke
from dycoke_cli.cli.commands.model_documents import all_models
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, CATALOG, published, published_names
from dycoke_cli.models.families import FAMILIES, ModelInfo, defaults_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from tests.families.stock import NONE_ONLY
from tests.pages import section

# Rotary positions in time, height and width: a gap that is closed would be another place.
PLACED = {
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
    *("cosmos3_omni", "cosmos3_edge", "cohere_compass", "glm4v", "glm4v_moe", "glm46v"),
}


def test_what_no_method_depends_on_makes_no_other_model():
    info = ModelInfo("x", FAMILIES["qwen2_vl"], {}, 10)
    same = {"name": "y", "dtype": "float16", "context": 8, "values": {"a": 1}, "folder": Path()}
    assert replace(info, **same) == info
    for other in ({"layers": 9}, {"domain": "shapes"}, {"defaults": {"prune_layer": 4}}):
        assert replace(info, **other) != info


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_follow_the_published_code_where_they_can(family):
    assert defaults_of(FAMILIES[family]) == {
        "prune_layer": 3,
        "positions": "kept" if family in PLACED else "renumbered",
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("own", ["kept", None])
def test_several_windows_have_contiguous_positions_where_they_count_tokens(family, own):
    """Whatever the checkpoint asks for, which the bundled one does; not where they are places."""
    given = defaults_of(FAMILIES[family], None if own is None else {"positions": own})
    info = ModelInfo("x", FAMILIES[family], given, 10)
    expected = "kept" if family in PLACED else "renumbered"
    assert info.in_windows.defaults == {**given, "positions": expected}
    assert settled(DyCoke(), info.in_windows).positions == expected
    assert settled(DyCoke(), info.before_windows).positions is None
    if family not in PLACED:  # the user's choice wins
        assert settled(DyCoke(positions="kept"), info.in_windows).positions == "kept"


def test_a_model_of_few_layers_is_pruned_in_its_last():
    assert defaults_of(FAMILIES["internvl"], layers=2)["prune_layer"] == 1


def test_what_is_listed_is_what_loading_takes():
    listed = {model.name: model for model in all_models().models}
    assert listed.keys() == CATALOG.keys()
    for name in ("mini", *published_names()):
        if name == "mini":
            defaults = resolve_model(name, LoadOptions(device="cpu")).info.defaults
        else:
            config = AutoConfig.for_model(**copy.deepcopy(published(name).config))
            defaults = ModelInfo.of(config).defaults
        assert {key: getattr(listed[name], key) for key in defaults} == defaults, name
    for name, entry in CATALOG.items():
        if name != "mini":
            assert listed[name].positions == FAMILIES[entry.family].positions


def test_the_page_on_families_says_the_same():
    page = " ".join(section("models.md", "Positions").split())
    for positions in ("renumbered", "kept"):
        (named,) = re.findall(rf"`{positions}` by default: (.+?)\.", page)
        expected = {name for name in FAMILIES if FAMILIES[name].positions == positions}
        assert set(re.findall(r"`(\w+)`", named)) == expected - {*NONE_ONLY}


def test_the_page_on_families_has_the_releases_that_cannot_run_them():
    page = section("models.md", "Releases of transformers")
    listed = {
        name: releases
        for names, releases in re.findall(r"^\| (`.+`) \| (.+?) \| .+ \|$", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == {
        name: releases_between(*family.cannot_run_on)
        for name, family in FAMILIES.items()
        if family.cannot_run_on != ("0", "0")
    }


def releases_between(first: str, behind: str) -> str:
    if first == "0":
        return f"before {behind}"
    major, minor = behind.split(".")
    last = f"{major}.{int(minor) - 1}"
    return first if first == last else f"{first} to {last}"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied") / "checkpoint"
    shutil.copytree(BUNDLED_CHECKPOINT, folder)
    return folder


@pytest.mark.parametrize(
    "own",
    [
        [], {"layer": 3}, {"domain": 3}, {"prune_layer": 10}, {"prune_layer": "9"},
        {"prune_layer": True}, {"positions": "lost"},
    ],
)  # fmt: skip
def test_a_checkpoint_with_nonsense_is_refused(copied, own):
    sentence = r"'dycoke' in .* may have prune_layer \(1 to 9\), positions \(kept or renumbered\)"
    file = copied / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dycoke": own}))
    with pytest.raises(ModelError, match=sentence):
        _ = resolve_model(str(copied), LoadOptions(device="cpu")).info.defaults
    # Of a family that isn't listed, too.
    with pytest.raises(ModelError, match=sentence):
        ModelInfo.of({"num_hidden_layers": 10, "dycoke": own})


def test_places_cant_be_renumbered_by_a_checkpoint_either():
    with pytest.raises(ModelError, match=r"positions \(kept\) .* not .*renumbered"):
        defaults_of(FAMILIES["qwen3_vl"], {"positions": "renumbered"})
