"""Nothing but safetensors inside a model's folder is loaded, and no code of a checkpoint runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, find
from dycoke_cli.models.files.small_files import is_complete, weight_files
from dycoke_cli.models.load import load
from tests.cli.harness import run_process
from tests.hub import COMMIT, Hub, Repo
from tests.imports import python_path
from tests.models.conftest import change, refused

INDEX = "model.safetensors.index.json"
SCRIPT = """
import sys, huggingface_hub.constants, torch
for name in sys.argv[1:]:
    huggingface_hub.hf_hub_download("me/mine", name)
huggingface_hub.constants.HF_HUB_OFFLINE = len(sys.argv) > 1
torch.load = lambda *_, **__: sys.exit("pickled weights were read")
from dycoke_cli.errors import ModelError
from dycoke_cli.models.load import load
try:
    load("me/mine", device="cpu")
except ModelError as error:
    print(error)
else:
    print("loaded")
"""


@pytest.fixture(autouse=True)
def nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("pickled weights were read")

    monkeypatch.setattr(torch, "load", read)


def index_of(weights: Path, file: str) -> str:
    """An index that names one file for all tensors."""
    names = load_file(weights / "model.safetensors")
    return json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file)})


def pickled(folder: Path, name: str) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / name)


def test_an_index_that_names_pickled_weights(folder: Path) -> None:
    pickled(folder, "w.bin")
    (folder / INDEX).write_text(index_of(folder, "w.bin"))
    (folder / "model.safetensors").rename(folder / "beside.safetensors")
    refused(folder, r"index.json that names 'w.bin' as weights; only safetensors in its folder")


@pytest.mark.parametrize("name", ["../outside.safetensors", "a/../../x.safetensors", "/x", "C:x"])
def test_an_index_that_leaves_the_folder(name: str, folder: Path) -> None:
    (folder / INDEX).write_text(index_of(folder, name))
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").rename(folder / "beside.safetensors")
    refused(folder, "as weights; only safetensors in its folder are loaded")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_link_out_of_the_folder(folder: Path, sharded: bool) -> None:
    outside = folder.parent / "outside.safetensors"
    if sharded:
        (folder / INDEX).write_text(index_of(folder, "one.safetensors"))
    (folder / "model.safetensors").rename(outside)
    (folder / ("one.safetensors" if sharded else "model.safetensors")).symlink_to(outside)
    refused(folder, r"is a link out of it, .*; replace the link by the file")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_a_small_file_that_is_a_link_out(name: str, folder: Path) -> None:
    """Its content isn't quoted by an error, either."""
    outside = folder.parent / "private.txt"
    outside.write_text("secret: 1")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelError, match=r"is a link out of it; replace the link") as refused:
        load(str(folder), device="cpu")
    assert "secret" not in str(refused.value)


def test_a_link_within_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    load(str(folder), device="cpu")


def test_a_snapshot_of_the_hub_cache_given_as_a_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / COMMIT
    shutil.copytree(BUNDLED_CHECKPOINT, blobs)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(blobs.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    load(str(snapshot), device="cpu")


def test_a_snapshot_of_what_came_by_xet(tmp_path: Path) -> None:
    """The hub client links a blob to a store that all repositories share."""
    repository = tmp_path / "models--me--mine"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    shared, other = tmp_path / "blobs" / "ab", tmp_path / "models--me--other" / "blobs"
    for place in (blobs, shared, other):
        place.mkdir(parents=True)
    shutil.copytree(BUNDLED_CHECKPOINT, snapshot)
    for number, name in enumerate(("model.safetensors", "tokenizer.json"), 10):
        stored = shared / f"ab{number:062x}"
        (snapshot / name).rename(stored)
        (blobs / str(number)).symlink_to(f"../../blobs/ab/{stored.name}")
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    load(str(snapshot), device="cpu")
    for place in (shared / "ab", other / stored.name, tmp_path / "blobs" / stored.name):
        stored.rename(place)
        (blobs / str(number)).unlink()
        (blobs / str(number)).symlink_to(place)
        with pytest.raises(ModelError, match=r"tokenizer\.json is a link out of it"):
            load(str(snapshot), device="cpu")
        stored = place


@pytest.mark.parametrize("name", ["model.safetensors", INDEX, "tokenizer.json", "more.txt"])
def test_what_is_no_regular_file(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / "beside.safetensors").touch()
    os.mkfifo(folder / name)
    refused(folder, rf"{name} .*isn't a regular file", find)


def test_a_shard_in_a_folder_below_that_is_no_regular_file(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "beside.safetensors")
    (folder / INDEX).write_text('{"weight_map": {"a": "part/one.safetensors"}}')
    (folder / "part").mkdir()
    os.mkfifo(folder / "part" / "one.safetensors")
    refused(folder, r"one.safetensors in the folder .* isn't a regular file", find)


@pytest.mark.parametrize("by", ["config.json", "my.safetensors.index.json"])
def test_a_configuration_that_names_pickled_weights(by: str, folder: Path) -> None:
    name = "adapter_model.bin"  # the one such name that transformers takes
    pickled(folder, name)
    if by != "config.json":
        (folder / by).write_text(index_of(folder, name))
    named = name if by == "config.json" else by
    change(folder / "config.json", transformers_weights=named)
    refused(folder, rf"{by} that names '{name}' as weights")


def test_a_configuration_that_names_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "mine.safetensors")
    change(folder / "config.json", transformers_weights="mine.safetensors")
    assert weight_files("it", folder) == ["mine.safetensors"]
    load(str(folder), device="cpu")


def test_what_is_stored_twice_is_loaded_from_one_file(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "one.safetensors")
    (folder / INDEX).write_text(index_of(folder, "one.safetensors"))
    assert weight_files("it", folder) == ["model.safetensors"]
    (folder / "model.safetensors").unlink()
    assert weight_files("it", folder) == ["one.safetensors"]


def test_an_index_beside_a_whole_file_may_be_that_of_another_model(folder: Path) -> None:
    """As stock transformers has it; and what the index names must be safetensors all the same."""
    (folder / INDEX).write_text(index_of(folder, "model-00001-of-00030.safetensors"))
    assert is_complete(folder)
    load(str(folder), device="cpu")


@pytest.mark.parametrize("file", ["processor_config.json", "audio_tokenizer_config.json"])
def test_weights_of_an_audio_tokenizer(file: str, folder: Path) -> None:
    named = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": str(folder)}
    change(folder / file, audio_tokenizer=named)
    refused(folder, "needs an audio tokenizer, which isn't supported", find)


@pytest.mark.parametrize("value", ["me/kernel", {"text_config": "me/kernel@v1:forward"}])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_kernels_of_the_hub(key: str, value: Any, folder: Path) -> None:
    change(folder / "config.json", **{key: value})
    refused(folder, r"'me/kernel.*never run; take")


def test_a_custom_generate_is_left_alone(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text("raise SystemExit('this must not run')")
    change(folder / "processor_config.json", auto_map={"AutoProcessor": "mine.Processor"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Slow", "mine.Fast"]})
    (folder / "mine.py").write_text("raise SystemExit('this must not run')")
    load(str(folder), device="cpu")


def test_a_chat_template_runs_in_a_sandbox(folder: Path) -> None:
    processor = load(str(folder), device="cpu").processor
    reach = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(Exception, match="unsafe"):
        processor.apply_chat_template([{"role": "user", "content": "?"}], chat_template=reach)


def content_of(changes: dict[str, str | None], tmp_path: Path) -> dict[str, bytes]:
    """The files of a repository: the bundled checkpoint with changes; an index by what it names."""
    content = {path.name: path.read_bytes() for path in BUNDLED_CHECKPOINT.iterdir()}
    torch.save(load_file(BUNDLED_CHECKPOINT / "model.safetensors"), tmp_path / "w.bin")
    content["one.safetensors"] = content["model.safetensors"]
    content["w.bin"] = (tmp_path / "w.bin").read_bytes()
    for name, text in changes.items():
        if text is None:
            del content[name]
        else:
            content[name] = (index_of(BUNDLED_CHECKPOINT, text) if name == INDEX else text).encode()
    return content


def loaded_from(hub: Hub, home: Path, *pulled: str) -> str:
    """What a process says that loads from a hub; once files are pulled, without it."""
    environment = {**hub.environment(home), "PYTHONPATH": python_path()}
    run = run_process([sys.executable, "-c", SCRIPT, *pulled], **environment)
    assert run.code == 0, run.err
    return run.out


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model.safetensors": None, INDEX: "w.bin"},
            f"has a {INDEX} that names 'w.bin'",
        ),
        ({INDEX: "../x.safetensors"}, f"has a {INDEX} that names '../x.safetensors' as"),
        ({"adapter_config.json": "{}"}, "has an adapter"),
        ({"model.safetensors": None}, "has no safetensors weights, the only format that is"),
    ],
)
def test_a_repository_that_refers_elsewhere(
    changes: dict[str, str | None], sentence: str, tmp_path: Path
) -> None:
    with Hub({"me/mine": Repo(content_of(changes, tmp_path))}) as hub:
        assert loaded_from(hub, tmp_path / "home").startswith(f"me/mine {sentence}")
    assert not any(name.endswith(("safetensors", ".bin")) for _, name, _ in hub.fetched)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"model.safetensors": None, INDEX: "one.safetensors"}])
def test_a_repository_in_the_cache(changes: dict[str, str | None], tmp_path: Path) -> None:
    content = content_of(changes, tmp_path)
    names = [name for name in content if name != "w.bin"]
    with Hub({"me/mine": Repo(content)}) as hub:
        assert loaded_from(hub, tmp_path / "home", *names) == "loaded\n"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
def test_a_git_lfs_pointer(name: str, folder: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (folder / name).write_bytes(pointer)
    cause = rf"its {name} is only a Git LFS pointer: fetch the file itself with `git lfs pull`"
    refused(folder, cause, find)
