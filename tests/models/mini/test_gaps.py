"""Clips of which only some frames are shown: positions say when each of them was."""

import numpy as np

from dycoke_cli.models.mini.batches import Shape, head_positions, shown_frames


def test_positions_skip_what_is_not_shown() -> None:
    shape = Shape(videos=1, frames=3, grid=5)
    positions = head_positions(shape, np.array([0, 2, 3])).tolist()
    # Two tokens open the prompt, 16 are a frame, and the newline stands behind the fifth frame.
    opening, newline = [0, 1], [2 + 5 * 16]
    frames = [*range(2, 18), *range(34, 50), *range(50, 66)]
    assert positions == [*opening, *frames, *newline]


def test_without_a_grid_nothing_is_skipped() -> None:
    shape = Shape(videos=1, frames=3)
    shown = shown_frames(shape, np.random.default_rng(0))
    assert shown.tolist() == [0, 1, 2]
    assert head_positions(shape, shown).tolist() == list(range(2 + 3 * 16 + 1))


def test_the_first_frame_is_always_shown() -> None:
    shape = Shape(videos=1, frames=12, grid=32)
    for seed in range(20):
        shown = shown_frames(shape, np.random.default_rng(seed)).tolist()
        assert shown[0] == 0
        assert len(set(shown)) == 12
        assert shown == sorted(shown)
        assert shown[-1] < 32
