"""A discovered layout is cached, and a file that can't be read counts as missing."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.models.families import UNLISTED, Discovered, Family, discovery
from dycoke_cli.models.families.discovery import found_layout

RUNS = replace(
    UNLISTED,
    discovered=Discovered(token_id=7, vision_inputs=("pixel_values", "pixel_mask")),
    only_none="",
    rope=("position_ids",),
    least_frames=2,
)
SLICES = replace(
    UNLISTED,
    discovered=Discovered(token_id=7, temporal_patch_size=2, as_images=True),
    only_none="",
    one_run=True,
    tail=1,
    per_frame=4,
)
REFUSED = replace(UNLISTED, only_none="its layout can't be proven: it mixes frames")


class Model:
    """As much of a stock model as the name of its file depends on."""

    def __init__(self, text: str = "{}") -> None:
        self.config = SimpleNamespace(to_json_string=lambda: text)


def processor() -> Any:
    video = SimpleNamespace(to_json_string=lambda: "{}")
    return SimpleNamespace(video_processor=video, chat_template="{{ messages }}")


@pytest.fixture
def searched(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    return []


def finds(monkeypatch: Any, family: Family, searched: list[str]) -> None:
    def find_layout(model: Any, processor: Any, name: str) -> Family:
        searched.append(name)
        return family

    monkeypatch.setattr(discovery, "find_layout", find_layout)


@pytest.mark.parametrize("family", [RUNS, SLICES, REFUSED])
def test_it_is_searched_for_once(family, searched, monkeypatch) -> None:
    finds(monkeypatch, family, searched)
    first, second = (found_layout(Model(), processor(), "it") for _ in range(2))
    assert searched == ["it"]
    assert first == family
    assert second == replace(family, video_options=second.video_options)


def test_another_configuration_is_searched_for(searched, monkeypatch) -> None:
    finds(monkeypatch, RUNS, searched)
    found_layout(Model(), processor(), "one")
    found_layout(Model('{"hidden_size": 8}'), processor(), "other")
    assert searched == ["one", "other"]


@pytest.mark.parametrize(
    "damage",
    [
        "", "[]", "{}", "[" * 3000, {"per_frame": "4"}, {"per_frame": 0}, {"tail": -1},
        {"least_frames": -1}, {"rope": ["x"]}, {"discovered": {"token_id": "7"}},
        {"discovered": {"token_id": -1}}, {"discovered": {"temporal_patch_size": 0}},
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(damage, searched, monkeypatch, tmp_path) -> None:
    finds(monkeypatch, RUNS, searched)
    found_layout(Model(), processor(), "it")
    [file] = tmp_path.glob("layouts/*.json")
    whole = json.loads(file.read_text())
    file.write_text(damage if isinstance(damage, str) else json.dumps(whole | damage))
    assert found_layout(Model(), processor(), "it") == RUNS
    assert searched == ["it", "it"]


def test_a_cache_that_cannot_be_written_costs_nothing(searched, monkeypatch, tmp_path) -> None:
    (tmp_path / "layouts").write_text("no folder")
    finds(monkeypatch, RUNS, searched)
    assert found_layout(Model(), processor(), "it") == RUNS
