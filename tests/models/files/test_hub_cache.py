"""What of a model is on disk: the hub client's cache, laid out by hand."""

import json
import os

import pytest

from dycoke_cli.models.files.hub import cached_models
from dycoke_cli.models.files.small_files import missing_parts

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


def test_revisions_the_newest_first(cache):
    lay_out(cache, OLD, {"config.json": b"{}"}, time=100)
    folder = lay_out(
        cache, NEW, {"config.json": b"{}", "model.safetensors": b"1234"}, ref="main", time=200
    )
    [(repo, found)] = cached_models().items()
    assert (repo, found.bytes, found.complete) == ("me/mine", 8, True)
    assert [(r.commit, r.names, r.complete) for r in found.revisions] == [
        (NEW, ("main",), True),
        (OLD, (), False),
    ]
    assert found.revisions[0].folder == str(folder)


INDEX = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({}, ["config.json", "model.safetensors"]),
        ({"config.json": "{}", "model.safetensors": ""}, []),
        (
            {"config.json": "{}", "model.safetensors.index.json": json.dumps(INDEX)},
            ["one.safetensors", "two.safetensors"],
        ),
        (
            {
                "config.json": "{}",
                "model.safetensors.index.json": json.dumps(INDEX),
                "one.safetensors": "",
                "two.safetensors": "",
            },
            [],
        ),
        ({"model.safetensors.index.json": "{"}, ["model.safetensors.index.json"]),
        ({"model.safetensors.index.json": "[]"}, ["model.safetensors.index.json"]),
    ],
)
def test_what_is_missing(tmp_path, files, missing):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert missing_parts(tmp_path) == missing
