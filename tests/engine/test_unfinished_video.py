"""A long video whose reading was interrupted: the next run goes on, and answers as undisturbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine import read_window, unfinished_video
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.unfinished_video import ReadSoFar, UnfinishedVideo
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.storage.cache_folder import ENVIRONMENT, UNFINISHED, CacheFiles, encoded_videos
from tests.families.stock import one_of_each_kind
from tests.families.test_windowed_video import (
    FAMILIES,
    FRAMES,
    Shown,
    asked,
    loaded_of,
    method_of,
    same_answers,
    session_in_windows,
    shown,
)

CPU = torch.device("cpu")
FILE = {"path": "a", "bytes": 1}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Frames of the windows that are encoded; the third interrupts, once."""
    frames, encode = [], read_window.encode_cached
    # However long a write takes: each window is worth one.
    monkeypatch.setattr(unfinished_video, "SHARE", 0)

    def noted(loaded: LoadedModel, video: Any, *more: Any, **options: Any) -> Any:
        frames.append(video.frames)
        if len(frames) == 3:
            raise KeyboardInterrupt
        return encode(loaded, video, *more, **options)

    monkeypatch.setattr(read_window, "encode_cached", noted)
    return frames


def identified(family: str) -> LoadedModel:
    return replace(loaded_of(family), identity={"weights": "w"})


def interrupt(loaded: LoadedModel, video: Shown, method: Method, **more: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        session_in_windows(loaded, video, method, file=FILE, **more)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES))
@pytest.mark.parametrize("name", ["none", "dycoke-plus", "vidcom2"])
def test_the_answer_is_that_of_a_run_that_was_not_interrupted(
    family: str, name: str, encoded: list[int]
) -> None:
    loaded, video = identified(family), shown(FRAMES)
    method = method_of(name, loaded)
    cap = {"max_tokens": 20}  # the pool was thinned before, unless little was kept
    interrupt(loaded, video, method, **cap)
    resumed = list[int]()
    session = session_in_windows(loaded, video, method, file=FILE, on_resume=resumed.append, **cap)
    assert resumed == [2]
    assert len(encoded) == 4, "the third window alone is encoded a second time"
    answer, read = asked(session, method)
    undisturbed, expected = asked(session_in_windows(loaded, video, method, **cap), method)
    same_answers(answer, undisturbed)
    assert answer.windows == undisturbed.windows
    for argument in ("inputs_embeds", "position_ids"):
        assert torch.equal(read[argument], expected[argument]), argument


def test_nothing_is_kept_once_it_was_asked_about(encoded: list[int]) -> None:
    loaded = identified("llava_onevision")
    method = method_of("dycoke-plus", loaded)
    interrupt(loaded, shown(FRAMES), method)
    [path] = encoded_videos().listed()
    assert path.name.startswith(UNFINISHED)
    session = session_in_windows(loaded, shown(FRAMES), method, file=FILE)
    assert encoded_videos().listed() == [path], "an answer may be interrupted as well"
    session.finish()
    assert encoded_videos().listed() == []
    session.finish()


OTHERS: dict[str, Any] = {
    "file": {"file": {**FILE, "bytes": 2}},
    "budget": {"max_tokens": 21},
    "size of windows": {"size": 6},
    "method": {"method": "evs"},
    "parameter": {"parameters": {"retain": 0.3}},
    "weights": {"identity": {"weights": "v"}},
    "kernels": {"kernels": "stock"},
    "frames": {"frames": FRAMES - 2},
    "times of frames": {"later_s": 0.5},
    "size of frames": {"scale": 2},
    "release": {"release": "0.0.0"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_video_or_way_of_reading_begins_anew(
    other: str, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = identified("llava_onevision")
    method = method_of("dycoke-plus", loaded)
    interrupt(loaded, shown(FRAMES), method, max_tokens=20)
    given = dict(OTHERS[other])
    if "release" in given:
        monkeypatch.setattr(unfinished_video, "__version__", given["release"])
    if "method" in given:
        method = method_of(given["method"], loaded)
    method = replace(method, **given.get("parameters", {}))
    weights = {name: given[name] for name in ("identity", "kernels") if name in given}
    video = shown(given.get("frames", FRAMES), given.get("scale", 1))
    times = tuple(time + given.get("later_s", 0.0) for time in video.timestamps_s)
    session_in_windows(
        replace(loaded, **weights),
        replace(video, timestamps_s=times),
        method,
        given.get("size", 8),
        file=given.get("file", FILE),
        max_tokens=given.get("max_tokens", 20),
        on_resume=lambda windows: pytest.fail("it goes on"),
    )


@pytest.mark.parametrize("damage", ["torn", "bit", "names"])
def test_a_damaged_file_is_read_anew(damage: str, encoded: list[int]) -> None:
    loaded = identified("llava_onevision")
    method = method_of("dycoke-plus", loaded)
    interrupt(loaded, shown(FRAMES), method)
    [path] = encoded_videos().listed()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    if damage == "names":
        content = bytearray(path.read_bytes().replace(b'"features"', b'"peatures"'))
    path.write_bytes(content[:-100] if damage == "torn" else content)
    session = session_in_windows(
        loaded,
        shown(FRAMES),
        method,
        file=FILE,
        on_resume=lambda windows: pytest.fail("it goes on"),
    )
    assert len(encoded) == 6
    undisturbed = session_in_windows(loaded, shown(FRAMES), method)
    same_answers(asked(session, method)[0], asked(undisturbed, method)[0])


def test_what_cannot_be_kept_is_said_with_the_answer(tmp_path: Path) -> None:
    (tmp_path / "visual").write_text("")
    loaded = identified("llava_onevision")
    method = method_of("dycoke-plus", loaded)
    session = session_in_windows(loaded, shown(FRAMES), method, file=FILE)
    answer, _ = asked(session, method)
    [warning] = [one for one in answer.warnings if "interrupted" in one]
    assert "would read this video from its beginning" in warning
    assert "can't be written" in warning
    session.finish()


def read_so_far(*, deepstack: int, counts: bool) -> ReadSoFar:
    made = torch.Generator().manual_seed(0)

    def rows(count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.randn(count, 3, generator=made).to(dtype)

    stacked = tuple(rows(12, torch.bfloat16) for _ in range(deepstack))
    return ReadSoFar(
        PooledTokens(
            torch.arange(12) * 7,
            rows(12, torch.bfloat16),
            stacked,
            torch.arange(12) + 1 if counts else None,
        ),
        Encoded(rows(0, torch.bfloat16), tuple(layer[:0].clone() for layer in stacked)),
        (torch.arange(2), rows(1, torch.float64), torch.tensor(5)),
        frames=10,
        count=3,
        kept=99,
    )


@pytest.mark.parametrize(("deepstack", "counts"), [(0, True), (3, False), (12, True)])
def test_all_comes_back_as_it_was(deepstack: int, counts: bool) -> None:
    written = read_so_far(deepstack=deepstack, counts=counts)
    UnfinishedVideo(FILE).put(written)
    found = UnfinishedVideo(FILE).get(CPU)
    assert found is not None
    assert (found.frames, found.count, found.kept) == (10, 3, 99)
    assert (found.tokens.counts is None) == (not counts)
    for one, other in zip(_tensors(found), _tensors(written), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert UnfinishedVideo({**FILE, "bytes": 2}).get(CPU) is None


def _tensors(read: ReadSoFar) -> list[torch.Tensor]:
    tokens, tail = read.tokens, read.tail
    counts = [] if tokens.counts is None else [tokens.counts]
    pooled = [tokens.kept, tokens.features, *tokens.deepstack, *counts]
    return [*pooled, tail.embeddings, *tail.deepstack, *read.so_far]


def test_writing_takes_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write of 2 s the next one is due 40 s later."""
    clock = [100.0]
    monkeypatch.setattr(unfinished_video.time, "monotonic", lambda: clock[0])

    def write(*_: Any) -> None:
        clock[0] += 2

    monkeypatch.setattr(unfinished_video, "write_tensors", write)
    unfinished = UnfinishedVideo(FILE)
    assert unfinished.is_due
    unfinished.put(read_so_far(deepstack=0, counts=True))
    due = []
    for _ in range(4):
        due.append(unfinished.is_due)
        clock[0] += 20
    assert due == [False, False, True, True]


def test_the_limit_of_encoded_videos_holds(tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, ".safetensors", 1)
    for name in "ab":
        UnfinishedVideo({"path": name}, files).put(read_so_far(deepstack=0, counts=True))
    assert len(files.listed()) == 1


def test_a_model_that_nothing_names_is_not_kept(encoded: list[int]) -> None:
    loaded = loaded_of("llava_onevision")
    interrupt(loaded, shown(FRAMES), method_of("dycoke-plus", loaded))
    assert not os.path.exists(encoded_videos().folder)


def test_a_session_without_windows_has_nothing_to_finish() -> None:
    VideoSession(loaded_of("llava_onevision"), shown(4)).finish()
