"""Encoded videos on disk: the same answer without the vision tower, and never a wrong one."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from dycoke_cli import Uncompressed, VideoSession
from dycoke_cli.cache import LIMIT, CacheFiles
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.visual_cache import VisualCache, key_of
from dycoke_cli.errors import OutputError, UsageError

from ..families.stock import clip
from ..families.test_together import loaded_of

CPU = torch.device("cpu")


def files(folder, limit: int = 10**9) -> CacheFiles:
    return CacheFiles(folder, ".safetensors", limit)


def identified(family: str, weights: str = "w"):
    return dataclasses.replace(loaded_of(family), identity={"weights": weights})


class Tower:
    """Counts how often the vision side of a model runs."""

    def __init__(self, loaded) -> None:
        self.runs = 0
        tower = loaded.model.model.vision_tower
        self._hook = tower.register_forward_hook(lambda *_: setattr(self, "runs", self.runs + 1))

    def __enter__(self) -> Tower:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def ask(loaded, cache, seed: int = 0) -> str:
    session = VideoSession(loaded, clip(4, seed), cache=cache)
    return session.ask("what happens", Uncompressed(), max_new_tokens=6).answer


def test_a_video_that_was_asked_about_before_needs_no_tower(tmp_path) -> None:
    loaded, cache = identified("llava_onevision"), VisualCache(files(tmp_path))
    first = ask(loaded, cache)
    with Tower(loaded) as tower:
        assert ask(loaded, cache) == first == ask(loaded, None)
        assert tower.runs == 1  # that without a cache
        ask(loaded, cache, seed=1)
        assert tower.runs == 2
        ask(identified("llava_onevision", "others"), cache)
        assert tower.runs == 3
    assert len(files(tmp_path).listed()) == 3


def test_rows_come_back_as_they_were(tmp_path) -> None:
    cache = VisualCache(files(tmp_path))
    rows = torch.randn(5, 8, dtype=torch.bfloat16)
    stacked = (torch.randn(5, 8), torch.randn(5, 8))
    cache.put("k", Encoded(rows, stacked))
    found = cache.get("k", CPU)
    assert found is not None
    assert torch.equal(found.rows, rows)
    assert all(torch.equal(a, b) for a, b in zip(found.deepstack, stacked, strict=True))
    assert cache.get("other", CPU) is None


def test_a_torn_file_is_made_again(tmp_path) -> None:
    loaded, cache = identified("llava_onevision"), VisualCache(files(tmp_path))
    first = ask(loaded, cache)
    (path,) = files(tmp_path).listed()
    path.write_bytes(path.read_bytes()[:100])
    assert ask(loaded, cache) == first
    assert len(path.read_bytes()) > 100


def test_what_was_used_longest_ago_goes(tmp_path) -> None:
    rows = torch.zeros(1000)
    cache = VisualCache(files(tmp_path, 3 * 4200))
    for age, key in enumerate("abc"):
        cache.put(key, Encoded(rows))
        os.utime(tmp_path / f"{key}.safetensors", (age, age))
    assert cache.get("a", CPU) is not None  # used now
    cache.put("d", Encoded(rows))
    assert sorted(path.stem for path in files(tmp_path).listed()) == ["a", "c", "d"]
    assert files(tmp_path).nbytes <= 3 * 4200
    assert files(tmp_path).clear() == 3
    assert files(tmp_path).nbytes == 0


def test_the_limit_is_a_number(monkeypatch) -> None:
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(UsageError, match="number of gigabytes"):
        VisualCache()


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="leave out --cache"):
        VisualCache(files(tmp_path / "file")).put("k", Encoded(torch.zeros(1)))


def test_keys_follow_pixels_shapes_and_model() -> None:
    pixels = torch.arange(12, dtype=torch.uint8)
    keys = [
        key_of({"weights": "a"}, {"pixels": pixels.view(3, 4)}),
        key_of({"weights": "b"}, {"pixels": pixels.view(3, 4)}),
        key_of({"weights": "a"}, {"pixels": pixels.view(4, 3)}),
        key_of({"weights": "a"}, {"pixels": pixels.view(3, 4) + 1}),
    ]
    assert len(set(keys)) == 4
