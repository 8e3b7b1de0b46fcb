"""Encoded videos on disk: the same answer without the vision tower, and never a wrong one."""

from __future__ import annotations

import os
import re
import resource
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from dycoke_cli import Uncompressed, VideoSession
from dycoke_cli.engine import vision
from dycoke_cli.engine.vision import Encoded, VisualCache, key_of
from dycoke_cli.errors import OutputError
from dycoke_cli.kernels import tensor_files
from tests.engine.vision_tower.towers import files, identified
from tests.families.stock import clip

CPU = torch.device("cpu")


def ask(loaded, cache, seed: int = 0) -> str:
    session = VideoSession(loaded, clip(4, seed), cache=cache)
    return session.ask("what happens", Uncompressed(), max_tokens=6).answer


def test_a_video_that_was_asked_about_before_needs_no_tower(tmp_path) -> None:
    loaded, cache = identified("llava_onevision"), VisualCache(files(tmp_path))
    first = ask(loaded, cache)
    runs = list[int]()
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    assert ask(loaded, cache) == first == ask(loaded, None)
    assert len(runs) == 1  # that without a cache
    ask(loaded, cache, seed=1)
    assert len(runs) == 2
    ask(identified("llava_onevision", "others"), cache)
    assert len(runs) == 3
    hook.remove()
    assert len([*tmp_path.glob("*.safetensors")]) == 3


def test_rows_come_back_as_they_were(tmp_path) -> None:
    cache = VisualCache(files(tmp_path))
    rows = torch.randn(5, 8, dtype=torch.bfloat16)
    stacked = (torch.randn(5, 8), torch.randn(5, 8))
    cache.put("k", Encoded(rows, stacked))
    found = cache.get("k", CPU)
    assert torch.equal(found.embeddings, rows)
    assert all(torch.equal(a, b) for a, b in zip(found.deepstack, stacked, strict=True))
    assert cache.get("other", CPU) is None


def write(path, tensors, **about: str) -> None:
    save_file(tensors, path, about or None)


def holding(tensors):
    """Replaces a file by one that has other tensors than a video's, as they were written."""
    about = {"about": "k", "digest": tensor_files.digest_of(tensors, b"k")}
    return lambda path: write(path, tensors, **about)


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)


def folder(path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path) -> None:
    """It isn't waited for."""
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "bit": flip,
    "folder": folder,
    "pipe": pipe,
    "empty": lambda path: path.write_bytes(b""),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "header": lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"),
    "of another video": lambda path: path.write_bytes(path.with_stem("l").read_bytes()),
    "without a digest": lambda path: write(path, {"rows": torch.zeros(5, 8)}),
    "other names": holding({"other": torch.zeros(5, 8)}),
    "one more": holding({"0": torch.zeros(5, 8), "other": torch.zeros(5, 8)}),
    "nothing": holding({}),
    "other content": lambda path: write(path, {"0": torch.zeros(5, 8)}, about="k", digest="0"),
    "not a number": holding({"0": torch.tensor([torch.nan])}),
    "of another user": lambda path: os.chown(path, 12345, 12345),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is_not_what_was_written_is_no_video(tmp_path, kind) -> None:
    if kind == "of another user" and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    cache = VisualCache(files(tmp_path))
    for key in "kl":
        cache.put(key, Encoded(torch.randn(5, 8), (torch.randn(5, 8),)))
    DAMAGE[kind](tmp_path / "k.safetensors")
    assert cache.get("k", CPU) is None
    assert cache.get("l", CPU) is not None
    if kind != "folder":
        assert not (tmp_path / "k.safetensors").exists()
        cache.put("k", Encoded(torch.ones(5, 8)))
        assert torch.equal(cache.get("k", CPU).embeddings, torch.ones(5, 8))


def test_rows_that_are_not_finite_are_not_kept(tmp_path) -> None:
    cache = VisualCache(files(tmp_path))
    cache.put("k", Encoded(torch.tensor([[1.0, torch.inf]])))
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_private(tmp_path) -> None:
    place = tmp_path / "new" / "visual"
    before = os.umask(0)
    try:
        cache = VisualCache(files(place))
        cache.put("k", Encoded(torch.zeros(5, 8)))
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700  # made on the way
    assert stat.S_IMODE((place / "k.safetensors").stat().st_mode) == 0o600
    place.chmod(0o777)
    VisualCache(files(place))
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_threads_with_the_same_video_all_keep_it(tmp_path) -> None:
    cache, encoded = VisualCache(files(tmp_path)), Encoded(torch.randn(50, 8))
    with ThreadPoolExecutor(4) as pool:
        for kept in [pool.submit(cache.put, "k", encoded) for _ in range(200)]:
            kept.result()
    found = cache.get("k", CPU)
    assert torch.equal(found.embeddings, encoded.embeddings)
    assert [path.name for path in tmp_path.iterdir()] == ["k.safetensors"]


def test_the_folder_of_another_user_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(OutputError, match=r"belongs to another user.*DYCOKE_CACHE"):
        VisualCache(files(tmp_path))


def test_what_is_broken_off_leaves_nothing(tmp_path, monkeypatch) -> None:
    def terminated(*_: object) -> None:
        raise SystemExit(143)

    cache = VisualCache(files(tmp_path))
    monkeypatch.setattr(os, "replace", terminated)
    with pytest.raises(SystemExit):
        cache.put("k", Encoded(torch.zeros(5, 8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("since", [0, 2**33], ids=["", "the clock was set back"])
def test_what_was_used_longest_ago_goes(since: int, tmp_path) -> None:
    rows = torch.zeros(1000)
    cache = VisualCache(files(tmp_path, 3 * 4200))
    for age, key in enumerate("abc"):
        cache.put(key, Encoded(rows))
        os.utime(tmp_path / f"{key}.safetensors", (since + age, since + age))
    assert cache.get("a", CPU) is not None  # used now
    cache.put("d", Encoded(rows))
    assert sorted(path.stem for path in [*tmp_path.glob("*.safetensors")]) == ["a", "c", "d"]
    assert sum(path.stat().st_size for path in [*tmp_path.glob("*.safetensors")]) <= 3 * 4200


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="set DYCOKE_CACHE to another"):
        VisualCache(files(tmp_path / "file")).put("k", Encoded(torch.zeros(1)))


def test_a_full_disk_costs_no_answer(tmp_path, monkeypatch) -> None:
    loaded, cache = identified("llava_onevision"), VisualCache(files(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    session = VideoSession(loaded, clip(4), cache=cache)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        answer = session.ask("what happens", Uncompressed(), max_tokens=6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.answer == ask(loaded, None)
    (warning,) = [one for one in answer.warnings if "isn't kept" in one]
    assert re.search(
        r"^the encoded video isn't kept: .* can't be written .*set DYCOKE_CACHE", warning
    )
    assert list(tmp_path.iterdir()) == []
    assert ask(loaded, cache) == answer.answer
    assert len([*tmp_path.glob("*.safetensors")]) == 1


def test_keys_follow_pixels_shapes_dtypes_model_and_program(monkeypatch) -> None:
    pixels = torch.arange(12, dtype=torch.uint8)
    other_shapes = (pixels.view(4, 3), pixels.view(2, 6), pixels)
    keys = [
        key_of({"weights": "a"}, {"pixels": pixels.view(3, 4)}),
        key_of({"weights": "b"}, {"pixels": pixels.view(3, 4)}),
        key_of({"weights": "a"}, {"pixels": pixels.view(3, 4) + 1}),
        *(key_of({"weights": "a"}, {"pixels": other}) for other in other_shapes),
        # The same bytes.
        key_of({"weights": "a"}, {"pixels": pixels.view(3, 4).view(torch.int8)}),
        key_of({"weights": "a"}, {"images": pixels.view(3, 4)}),
    ]
    monkeypatch.setattr(vision, "_PROGRAM", ("another",))
    keys.append(key_of({"weights": "a"}, {"pixels": pixels.view(3, 4)}))
    assert len(set(keys)) == len(keys)
