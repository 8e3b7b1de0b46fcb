"""Downsampling: cells counted by hand, their means by loops, and pixels by blocks."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dycoke_cli import VideoSession
from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.methods.downsample import Downsample, grid_of_cells
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine.vision import encode_video, shrunk
from dycoke_cli.models.families import family_of
from tests.families.sessions import loaded_of, prompt_about
from tests.families.stock import clip
from tests.families.tiny import make


def test_a_quarter_is_the_mean_of_each_block() -> None:
    features = torch.randn(3, 64, 5, generator=torch.Generator().manual_seed(0))
    found = Downsample(retain=0.25).choose(SelectionInputs(features))
    blocks = F.avg_pool2d(features.view(3, 8, 8, 5).permute(0, 3, 1, 2).double(), 2)
    assert found.features is not None
    assert found.into is not None
    expected = blocks.permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(found.features, expected, check_dtype=False)
    first = [9, 11, 13, 15, 25, 27, 29, 31, 41, 43, 45, 47, 57, 59, 61, 63]
    assert found.kept.tolist() == [64 * frame + at for frame in range(3) for at in first]
    assert found.into[[0, 1, 8, 9, 2, 62]].tolist() == [9, 9, 9, 9, 11, 63]


@pytest.mark.parametrize(("count", "per_frame"), [(7, 64), (6, 64), (3, 12), (5, 7), (64, 64)])
def test_cells_are_of_equal_area_in_each_row(count: int, per_frame: int) -> None:
    height, width = {64: (8, 8), 12: (3, 4), 7: (1, 7)}[per_frame]
    columns = {7: (2, 2, 3), 6: (3, 3), 3: (1, 2), 5: (5,), 64: (8,) * 8}[count]
    cells, middles = grid_of_cells(count, per_frame)
    expected = []
    for row, several in enumerate(columns):
        for column in range(several):
            top, bottom = (Fraction(height * at, len(columns)) for at in (row, row + 1))
            left, right = (Fraction(width * at, several) for at in (column, column + 1))
            area = (bottom - top) * (right - left)
            expected.append(
                [
                    max(0, min(bottom, y + 1) - max(top, y))
                    * max(0, min(right, x + 1) - max(left, x))
                    / area
                    for y in range(height)
                    for x in range(width)
                ]
            )
    torch.testing.assert_close(cells, torch.tensor([[float(x) for x in cell] for cell in expected]))
    assert all(cells[n, at] > 0 for n, at in enumerate(middles.tolist()))
    assert len({*middles.tolist()}) == count


def test_pixels_are_those_of_the_smaller_picture() -> None:
    """What differs within what becomes one pixel isn't seen, and what is larger stays."""
    fine = torch.randn(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    lost = fine - F.avg_pool2d(fine[0], 2)[None].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert shrunk(fine, 0.5).shape == fine.shape
    torch.testing.assert_close(shrunk(fine + lost, 0.5), shrunk(fine, 0.5))
    assert not torch.allclose(shrunk(fine, 0.5), fine, atol=0.1)
    flat = torch.ones(2, 3, 8, 8)
    torch.testing.assert_close(shrunk(flat, 0.01), flat)


def test_the_tower_is_shown_the_smaller_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = make("llava_onevision")
    known = family_of(model.config)
    prompt = prompt_about(model, processor, clip(3))
    method = Downsample(retain=0.25)
    shrink = method.shrink()
    assert shrink == sqrt(0.25)
    ours = encode_video(model, known, prompt, shrink=shrink).embeddings
    assert not torch.allclose(ours, encode_video(model, known, prompt).embeddings)
    assert Downsample(retain=1.0).shrink() is None
    # And a session encodes it so, beside what other methods see of it.
    session, seen = VideoSession(loaded_of("llava_onevision"), clip(3)), []
    for name in ("downsample", "evs"):
        real = METHODS[name].choose

        def choose(self: Any, given: SelectionInputs, real: Any = real) -> Any:
            seen.append(given.features.flatten(0, 1))
            return real(self, given)

        monkeypatch.setattr(METHODS[name], "choose", choose)
        asked = create(name, retain=0.25)
        answer = session.ask("What?", asked, max_tokens=1)
        assert answer.tokens.visual_kept == asked.kept_tokens(3, 4)
    torch.testing.assert_close(seen[0], ours[: len(seen[0])])
    plain = encode_video(model, known, prompt).embeddings
    torch.testing.assert_close(seen[1], plain[: len(seen[1])])
