"""What of a model is on disk: the hub client's cache, laid out by hand."""

import json
import os

import pytest

from dycoke_cli.models.files.hub import cached_models
from dycoke_cli.models.files.small_files import is_complete

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def lay_out(cache, commit, files, ref=None, time=0):
    repo = cache / "models--me--mine"
    folder = repo / "snapshots" / commit
    folder.mkdir(parents=True)
    (repo / "blobs").mkdir(exist_ok=True)
    for name, content in files.items():
        blob = repo / "blobs" / f"{commit}-{name}"
        blob.write_bytes(content)
        os.utime(blob, (time, time))
        (folder / name).symlink_to(blob)
    if ref is not None:
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / ref).write_text(commit)
    return folder


def test_no_cache(cache):
    os.rmdir(cache)
    assert cached_models() == {}


def test_the_newest_revision(cache):
    lay_out(cache, OLD, {"config.json": b"{}"}, time=100)
    folder = lay_out(
        cache, NEW, {"config.json": b"{}", "model.safetensors": b"1234"}, ref="main", time=200
    )
    [(repo, found)] = cached_models().items()
    assert (repo, found.bytes, found.complete) == ("me/mine", 8, True)
    assert (found.commit, found.folder) == (NEW, str(folder))


INDEX = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        ({}, False),
        ({"config.json": "{}"}, False),
        ({"config.json": "{}", "model.safetensors": ""}, True),
        (
            {"config.json": "{}", "model.safetensors.index.json": json.dumps(INDEX)},
            False,
        ),
        (
            {
                "config.json": "{}",
                "model.safetensors.index.json": json.dumps(INDEX),
                "one.safetensors": "",
                "two.safetensors": "",
            },
            True,
        ),
        ({"config.json": "{}", "model.safetensors.index.json": "{"}, False),
        ({"config.json": "{}", "model.safetensors.index.json": "[]"}, False),
    ],
)
def test_what_is_complete(tmp_path, files, complete):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert is_complete(tmp_path) == complete
