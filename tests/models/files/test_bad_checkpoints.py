"""Checkpoints that can't be loaded: one sentence each, with what is wrong and the way out."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from dycoke_cli import errors
from dycoke_cli.errors import ModelError
from dycoke_cli.models import resolve
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files.small_files import brief
from dycoke_cli.models.load import load
from dycoke_cli.models.resolve import read_config
from tests.hub import COMMIT
from tests.models.conftest import change, refused


def in_two_files(folder: Path) -> None:
    """The weights in two files with an index, as large checkpoints have them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_two_files_load_and_one_of_them_does_not(folder: Path) -> None:
    in_two_files(folder)
    load(str(folder), device="cpu")
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, r"lacks the weight file model-00002-of.*; download", find)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": []}', "{}", '{"weight_map": 1}'])
def test_an_index_that_cannot_be_read(content: str, folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    refused(folder, r"has an index of its weights, .* that can't be read", find)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model_type": "gpt2"}, "family 'gpt2', which isn't supported"),
        (
            {"model_type": "frodo"},
            r"'frodo', which transformers \d.* doesn't know; a newer one may \(.*transformers",
        ),
        (
            {"model_type": "frodo", "auto_map": {"AutoModel": "modeling.Frodo"}},
            "needs code from its repository, which is never run; take one of the same model",
        ),
        (
            {"model_type": "internvl_chat", "auto_map": {"AutoModel": "modeling.InternVLChat"}},
            "never run; take one of the same model",
        ),
        ({"model_type": "videollama3_qwen2"}, "its name often ends in -hf"),
        ({"model_type": None}, "names no model_type"),
    ],
)
def test_a_family_that_cannot_be_loaded(
    folder: Path, values: dict[str, Any], sentence: str
) -> None:
    change(folder / "config.json", **values)
    refused(folder, sentence)


@pytest.mark.parametrize(
    ("family", "installed", "needed"),
    [
        ("molmo2", "5.19.0", "5.20"),
        ("cohere_compass", "5.18.0", "5.19"),
        ("gemma4", "5.19.0", "5.23"),
        ("gemma4_unified", "5.22.2", "5.23"),
    ],
)
def test_a_family_that_this_transformers_cannot_run(
    family: str, installed: str, needed: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder / "config.json", model_type=family)
    monkeypatch.setattr(transformers, "__version__", installed)
    sentence = (
        f"{folder} is of the family '{family}', which needs transformers {needed} or later; "
        f"{installed} is installed: "
    )
    refused(folder, rf"^{re.escape(sentence)}.* --upgrade transformers$")


@pytest.mark.parametrize(
    ("family", "installed"),
    [
        ("molmo2", "5.20.0"),
        ("cohere_compass", "5.17.0"),
        ("cohere_compass", "5.19.0"),
        ("gemma4", "5.18.0"),
        ("gemma4", "5.23.0"),
        ("qwen2_vl", "5.17.0"),
        ("frodo", "5.17.0"),
    ],
)
def test_a_family_that_this_transformers_can_run(
    family: str, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers, "__version__", installed)
    resolve.check_release("it", family)


def test_code_beside_a_stock_family_is_left_alone(folder: Path) -> None:
    # Some repositories carry the code that they needed before transformers had the class.
    change(folder / "config.json", auto_map={"AutoModelForImageTextToText": "modeling.Mine"})
    (folder / "modeling.py").write_text("raise SystemExit('this must not run')")
    load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("family", "package", "extra"),
    [("smolvlm", "num2words", "smolvlm"), ("perception_lm", "timm", "perception")],
)
def test_a_package_of_the_family_that_is_missing(
    family: str, package: str, extra: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model_type": family}
    (folder / "config.json").write_text(json.dumps(config))
    here = importlib.util.find_spec
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == package else here(name))
    sentence = rf"needs the package {package}, which isn't .*pip install .*\[{extra}\]"
    refused(folder, sentence)


@pytest.mark.parametrize("more", [{}, {"transformers_version": "99." * 2000 + "0"}])
def test_a_family_with_a_long_name_is_named_in_brief(tmp_path: Path, more: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "[" * 5000, **more}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"is of the family '\[{20,}\.\.\.") as error:
        load(str(tmp_path), device="cpu")
    assert len(str(error.value)) < 1200


@pytest.mark.parametrize(("size", "end"), [(58, "[['"), (59, "[[...")])
def test_what_is_quoted_has_at_most_sixty_characters(size: int, end: str) -> None:
    quoted = brief("[" * size)
    assert len(quoted) == 60
    assert quoted.endswith(end)


@pytest.mark.parametrize("size", [0, 1_000_000])
def test_weights_that_are_cut_off(size: int, folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(size)
    sentence = r"weight file that is cut off or damaged; copy or download"
    refused(folder, sentence)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("processor_config.json", "has neither processor_config.json nor preprocessor_config.json"),
        ("tokenizer.json", "has no file that its tokenizer can be made of, as tokenizer.json"),
    ],
)
def test_a_small_file_that_is_missing_is_named(name: str, sentence: str, folder: Path) -> None:
    (folder / name).unlink()
    refused(folder, sentence)


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as me/mine in the hub client's cache, which has no network."""
    place = tmp_path / "hub" / "models--me--mine"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / COMMIT)
    for name, value in (("HF_HUB_CACHE", str(tmp_path / "hub")), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(constants, name, value)
    return place


def test_what_is_here_in_part_alone(cached: Path) -> None:
    assert read_config(find("me/mine"), COMMIT)[1].name == COMMIT
    (cached / "snapshots" / COMMIT / "config.json").unlink()
    with pytest.raises(ModelError, match=r"isn't on this machine, or not all of it, and the hub"):
        read_config(find("me/mine"))


def test_a_folder_of_the_cache_itself(cached: Path) -> None:
    refused(cached, rf"its files are in the folder '.*{COMMIT}'", find)
