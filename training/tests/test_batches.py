"""Batches: which frames are shown, where they stand, and clips of something else."""

from __future__ import annotations

import numpy as np
import torch

from dycoke_cli.shapes.script import TONES
from training.batches import Shape, frame_times, head_positions, shown_frames
from training.visual_targets import OTHER_TONE

from .parts import batch_of


def test_positions_skip_what_is_not_shown() -> None:
    (positions,) = head_positions(np.array([0, 2, 3]), spread=5).tolist()
    # Two tokens open the prompt, 16 are a frame, and the newline stands behind the fifth frame.
    opening, newline = [0, 1], [2 + 5 * 16]
    frames = [*range(2, 18), *range(34, 50), *range(50, 66)]
    assert positions == [*opening, *frames, *newline]


def test_without_dropout_all_frames_are_shown_and_all_tokens_attended_to() -> None:
    shape = Shape(videos=4, frames=3, grid=6, text=20, token_dropout=1.0)
    batch = batch_of(1, shape)
    assert batch.dropped.any()
    assert batch.positions[0, :51].tolist() != list(range(51))
    whole = batch_of(1, shape.without_dropout())
    # Two clips of six frames are as many frames as four of three.
    assert whole.pixels.shape == (2, 6, 3, 64, 64)
    assert not whole.dropped.any()
    assert whole.positions[0, : 2 + 6 * 16 + 1].tolist() == list(range(2 + 6 * 16 + 1))
    # What had none is as it was.
    assert shape.without_dropout().without_dropout() == shape.without_dropout()


def test_the_first_frame_is_always_shown_and_without_a_grid_all_are() -> None:
    shape = Shape(videos=1, frames=12, grid=32)
    for seed in range(20):
        shown = shown_frames(shape, np.random.default_rng(seed)).tolist()
        assert shown[0] == 0
        assert len(set(shown)) == 12
        assert shown == sorted(shown)
        assert shown[-1] < 32
    assert shown_frames(Shape(videos=1, frames=3), np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_times_reach_from_edge_to_edge_or_to_the_middles_of_equal_parts() -> None:
    for seed in range(50):
        times = frame_times(8, np.random.default_rng(seed))
        assert 0 <= times[0] <= 0.5 / 8
        assert 1 - 0.5 / 8 <= times[-1] <= 1
        assert np.diff(times).std() < 1e-12
    assert frame_times(1, np.random.default_rng(0)).tolist() == [0.5]


def test_questions_stand_right_behind_the_video() -> None:
    shape = Shape(videos=2, frames=2, text=120)
    batch = batch_of(1, shape)
    prefix = 2 + 2 * 16 + 1
    assert shape.prefix == prefix
    assert batch.positions.shape == (2, prefix + 120)
    for row in range(2):
        for i in range(len(batch.questions[row])):
            mine = batch.positions[row, prefix:][batch.segments[row] == i]
            assert mine.tolist() == list(range(prefix, prefix + len(mine)))


def test_clips_of_something_else_have_one_answer_and_no_facts() -> None:
    batch = batch_of(2, Shape(videos=3, frames=2, text=160, out_of_domain=1.0))
    asked = [q for row in batch.questions for q in row]
    assert asked
    assert {(q.kind, q.answer) for q in asked} == {("unknown", "I only know moving shapes.")}
    assert (batch.seen[..., 6] == OTHER_TONE).all()
    assert (batch.known[..., 13] == 1).all()
    assert not batch.seen[..., :6].any()
    assert not batch.known[..., :13].any()
    own = batch_of(2, Shape(videos=3, frames=2, text=160, out_of_domain=0.0))
    assert (own.seen[..., 6] < len(TONES)).all()
    assert not own.known[..., 13].any()
    assert not any(q.kind == "unknown" for row in own.questions for q in row)


def test_a_share_of_the_clips_is_of_something_else() -> None:
    batch = batch_of(3, Shape(videos=30, frames=1, text=0, vision_only=True, out_of_domain=0.3))
    share = batch.known[:, 0, 0, 13].float().mean()
    assert 0.15 < share < 0.45
    assert batch.text.shape == (30, 0)
    assert batch.pixels.shape == (30, 1, 3, 64, 64)
    assert batch.pixels.dtype == torch.float32
    assert -1 <= batch.pixels.min() < batch.pixels.max() <= 1


def test_some_of_each_frame_is_dropped_and_nothing_else() -> None:
    batch = batch_of(4, Shape(videos=8, frames=4, text=40, token_dropout=0.8))
    frames = batch.dropped[:, 2 : 2 + 4 * 16].unflatten(1, (4, 16)).float().mean(-1)
    assert batch.dropped.shape == batch.positions.shape
    assert not batch.dropped[:, :2].any()
    assert not batch.dropped[:, 2 + 4 * 16 :].any()
    assert 0.3 < frames.mean() < 0.5
    assert frames.max() > 0.6
    assert not batch_of(4, Shape(videos=2, frames=4, text=40)).dropped.any()
