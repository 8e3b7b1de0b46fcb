"""From what a user typed to where a model's files are; each error is a sentence."""

import json

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, find
from dycoke_cli.models.resolve import fingerprint


def test_a_catalog_name():
    assert find("mini").location == str(BUNDLED_CHECKPOINT)
    source = find("llava-onevision-7b")
    assert (source.location, source.local) == ("llava-hf/llava-onevision-qwen2-7b-ov-hf", False)


def test_a_folder_and_a_hub_id(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find(str(tmp_path)).local
    source = find("someone/some-model")
    assert (source.location, source.local, source.entry) == ("someone/some-model", False, None)


def test_a_folder_of_the_name_of_a_hub_id_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "me" / "mine").mkdir(parents=True)
    (tmp_path / "me" / "mine" / "config.json").write_text("{}")
    (tmp_path / "me" / "mine" / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert find("me/mine").local


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("llava-onevision-7B", "no model 'llava-onevision-7B'.*did you mean llava-onevision-7b"),
        ("llava-onevison-0.5b", "did you mean llava-onevision-0.5b"),
        ("zzz", "no model 'zzz' and no such folder; `dycoke models` lists"),
        (
            "https://hub.test/a/b",
            r"is an address; give the model's hub id \(--model OWNER/NAME\)",
        ),
        ("./no/such/folder", "no model './no/such/folder' and no such folder"),
    ],
)
def test_an_unknown_name(name, sentence):
    with pytest.raises(ModelError, match=sentence):
        find(name)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "has no config.json"),
        (["config.json"], r"has no weights as safetensors \(\*"),
        (["config.json", "pytorch_model.bin"], "has no weights as safetensors"),
        (["config.json", "model.gguf"], "has model.gguf, whose format is that of"),
        (["model.gguf"], "has model.gguf, whose format is that of llama.cpp, which isn't read"),
        (["adapter_config.json", "adapter_model.safetensors"], "has an adapter .* merge it into"),
        (
            ["config.json", "model-00001-of-00002.safetensors"],
            r"neither model.safetensors nor their list, model.safetensors.index.json",
        ),
    ],
)
def test_a_folder_that_is_not_a_model(files, sentence, tmp_path):
    for file in files:
        (tmp_path / file).write_text(json.dumps({}))
    with pytest.raises(ModelError, match=sentence):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.Q4_K.gguf", "give the model in transformers' format"),
        ("model.safetensors", "is a file; give the folder"),
    ],
)
def test_a_file_is_not_a_folder(name, sentence, tmp_path):
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=sentence):
        find(str(tmp_path / name))


def test_the_fingerprint_of_a_hub_model_is_its_commit():
    assert fingerprint(find("llava-onevision-7b"), "abc123") == "commit:abc123"
