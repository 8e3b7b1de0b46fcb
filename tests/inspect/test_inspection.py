"""What an inspection says is what the methods and the model do, computed without it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from dycoke_cli import DyCoke, DyCokePlus, FastV, Uncompressed, VideoSession
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli.commands.schema import read_schema
from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.vision import encode_video
from dycoke_cli.inspect.inspection import (
    Inspection,
    as_uris,
    grid_shape,
    inspect_question,
    pictures,
)
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import ROOT
from tests.families.sessions import bundled

QUESTION = "What happens?"
METHODS = [DyCoke(recall_threshold=1.0), Uncompressed(), DyCokePlus(retain=0.3), FastV()]


@pytest.fixture(scope="module")
def session() -> VideoSession:
    clip = read(ROOT / "sample_videos" / "move.mp4", Sampling(frames=6))
    return VideoSession(bundled(), clip)


@pytest.fixture(scope="module")
def found(session: VideoSession) -> Inspection:
    options = GenerationOptions(max_tokens=6)
    return inspect_question(session, "move.mp4", QUESTION, METHODS, options)


def test_the_document_fits_its_schema(found: Inspection) -> None:
    document = to_dict(found)
    jsonschema.validate(document, read_schema("inspect"))
    assert [each["method"]["name"] for each in document["methods"]] == [
        method.name for method in METHODS
    ]


def test_kept_tokens_are_those_of_the_method_called_directly(
    session: VideoSession, found: Inspection
) -> None:
    encoded = encode_video(session.loaded.model, session.loaded.family, session.video)
    frames, count = session.video.frames, session.video.tokens_per_frame
    features = encoded.embeddings[: frames * count].view(frames, count, -1)
    for method, each in zip(METHODS, found.methods, strict=True):
        expected = method.choose(SelectionInputs(features)).kept
        assert each.trace.kept == tuple(sorted(expected.tolist())), method.name


def test_evicted_and_recalled_are_those_of_a_brute_force(session: VideoSession) -> None:
    """The rule of the paper in so many words, from the attention that was recorded."""
    method = DyCoke(recall_threshold=0.97, prune_ratio=0.6)
    trace = session.ask(QUESTION, method, max_tokens=12, trace=8).trace
    before, active, reference = set(trace.kept), None, None
    moved = 0
    for step in trace.steps[1:]:
        attention = torch.tensor(step.attention, dtype=torch.float64)
        if active is None or attention @ reference / attention.norm() / reference.norm() < 0.97:
            ranked = sorted(range(len(attention)), key=lambda i: (-step.attention[i], i))
            active = {trace.kept[i] for i in ranked[: int(len(ranked) * 0.4)]}
            reference = attention
        assert set(step.active) == active
        assert step.evicted == tuple(sorted(before - active))
        assert step.recalled == tuple(sorted(active - before))
        moved += len(step.recalled)
        before = active
    assert moved, "else nothing was recalled, and half of this proves nothing"


def test_all_are_recorded_in_one_layer(found: Inspection) -> None:
    assert {each.trace.layer for each in found.methods} == {1}  # before FastV's layer


@pytest.mark.parametrize(
    ("tokens", "grid", "aspect", "expected"),
    [
        (196, None, 0.5, (14, 14)),
        (180, [8, 24, 30], 3.0, (12, 15)),  # patches, of which 2 × 2 are a token
        (720, [8, 24, 30], 3.0, (24, 30)),
        (24, None, 0.6, (4, 6)),
        (24, None, 1.7, (6, 4)),
        (7, None, 0.9, (1, 7)),
        (7, None, 9.0, (7, 1)),
    ],
)
def test_the_grid(
    tokens: int, grid: list[int] | None, aspect: float, expected: tuple[int, int]
) -> None:
    inputs = {} if grid is None else {"video_grid_thw": torch.tensor([grid])}
    assert grid_shape(tokens, inputs, aspect) == expected


def test_pictures_are_the_frames(session: VideoSession, found: Inspection) -> None:
    shown = pictures(session, 48)
    assert len(shown) == found.grid.frames == 6
    height, width = session.clip.frames.shape[1:3]
    assert {picture.size for picture in shown} == {(48, round(48 * height / width))}
    for uri, picture in zip(as_uris(shown), shown, strict=True):
        kind, _, encoded = uri.partition(";base64,")
        written = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert (kind, written.format) == ("data:image/jpeg", "JPEG")
        assert np.abs(np.asarray(written, float) - np.asarray(picture)).mean() < 5
    assert found.grid.timestamps_s == session.clip.timestamps_s


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_pictures_are_cropped_as_the_processor_crops(
    session: VideoSession, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.zeros((6, *shape, 3), np.uint8)
    top, left = (side // 2 - 20 for side in shape)
    frames[:, top : top + 40, left : left + 40] = 255
    monkeypatch.setattr(session, "clip", replace(session.clip, frames=frames))
    processor = session.loaded.processor.video_processor
    monkeypatch.setattr(processor, "do_center_crop", True, raising=False)
    shown = pictures(session, 40)
    assert [picture.size for picture in shown] == [(40, 40)] * 6
    assert all(picture.getextrema() == ((255, 255),) * 3 for picture in shown)
