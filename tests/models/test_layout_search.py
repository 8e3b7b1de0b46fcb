"""Which rules a trial confirms: trials written by hand, and a tiny stock decoder."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from dycoke_cli.models.families import UNLISTED, Family, Layout, discovery
from dycoke_cli.models.families.discovery import (
    Trial,
    UnprovenError,
    _check_arguments,
    _checked,
    _divided,
    _keeps_every_token,
    _of_rows,
    _prove,
    _temporal_patch_size,
    noise,
)

VIDEO, WIDTH = 7, 4
CONFIG = SimpleNamespace()
RUNS = replace(UNLISTED, token_id=VIDEO, only_none="", rope=())
# A word, two frames of three tokens with a time between them, and two words.
IDS = [1, 7, 7, 7, 2, 7, 7, 7, 3, 4]
FIRST, LAST = [1, 2, 3], [5, 6, 7]


def trial(ids: list[int], frames: int, changed: list[int] | None = None, **more: Any) -> Trial:
    """A trial of these token ids, whose embeddings differ in the rows that changed."""
    embeds = torch.ones(1, len(ids), WIDTH)
    embeds[0, changed or [], 0] = 2.0
    positions = torch.arange(len(ids))[None]
    fields: dict[str, Any] = {
        "inputs": {"input_ids": torch.tensor([ids])},
        "kwargs": {"inputs_embeds": embeds, "position_ids": positions},
        "step": {"position_ids": positions[..., -1:] + 1},
        "frames": frames,
        "by_ids": True,
    }
    return Trial(**fields | more)


def checked(family: Family, ids: list[int], frames: int, first: list[int], last: list[int]) -> Any:
    one = trial(ids, frames)
    changed = [(0, trial(ids, frames, first)), (frames - 1, trial(ids, frames, last))]
    return _checked(family, CONFIG, one, changed)


def test_each_frame_that_changes_just_its_own_rows_confirms_a_rule() -> None:
    layout = checked(RUNS, IDS, 2, FIRST, LAST)
    assert layout.index.tolist() == FIRST + LAST
    assert layout.frame.tolist() == [0, 0, 0, 1, 1, 1]
    # Four input frames are merged in pairs: the last one is in the second group.
    assert checked(RUNS, IDS, 4, FIRST, LAST).frames == 2
    one, second, third = trial(IDS, 4), (1, trial(IDS, 4, FIRST)), (2, trial(IDS, 4, LAST))
    assert _checked(RUNS, CONFIG, one, [second, third]).frames == 2


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        ([1, 2, 3, 5], LAST, "mixes frames"),
        (FIRST, FIRST, "mixes frames"),
        ([1, 2, 3, 8], LAST, "aren't placeholders"),
        ([], LAST, "mixes frames"),
        ([1, 3], LAST, "aren't filled"),
        (FIRST, [6, 7], "aren't filled"),
    ],
)
def test_other_rows_refute_it(first: list[int], last: list[int], reason: str) -> None:
    with pytest.raises(UnprovenError, match=reason):
        checked(RUNS, IDS, 2, first, last)


def test_a_prompt_that_grows_with_what_frames_show_has_no_layout() -> None:
    longer = trial([*IDS, 4], 2)
    with pytest.raises(UnprovenError, match="depends on what frames show"):
        _checked(RUNS, CONFIG, trial(IDS, 2), [(0, longer)])


@pytest.mark.parametrize(
    ("frames", "groups", "size"), [(5, 5, 1), (5, 3, 2), (5, 2, 4), (4, 2, 2), (4, 1, 4)]
)
def test_frames_per_group(frames: int, groups: int, size: int) -> None:
    assert _temporal_patch_size(frames, groups) == size


def test_no_size_gives_that_many_groups() -> None:
    with pytest.raises(UnprovenError, match="5 frames have 4 groups"):
        _temporal_patch_size(5, 4)


def test_the_rule_follows_from_the_prompt() -> None:
    assert _divided(RUNS, trial(IDS, 2)) == RUNS
    run = trial([1, *[7] * 16, 3], 5)
    grid = replace(RUNS, rope=("position_ids",))
    assert _divided(grid, run) == replace(grid, one_run=True)
    counted = replace(run, inputs=run.inputs | {"video_grid_thw": torch.tensor([[2, 2, 4]])})
    assert _divided(RUNS, counted) == replace(RUNS, one_run=True, needs_frame_count=True)
    with pytest.raises(UnprovenError, match="nothing in its prompt tells where a frame begins"):
        _divided(RUNS, run)


def test_arguments_that_cant_be_cut_are_refused() -> None:
    plain = trial(IDS, 2)
    _check_arguments(plain)

    def with_(**more: Any) -> Trial:
        return replace(plain, kwargs=plain.kwargs | more)

    _check_arguments(with_(attention_mask=torch.ones(1, 10), other=torch.ones(3)))
    for more, reason in (
        ({"attention_mask": torch.ones(1, 1, 10, 10)}, "masks of its own"),
        ({"attention_mask": {"full": None}}, "masks of its own"),
        ({"router_ids": torch.ones(1, 10)}, "gets router_ids for each token"),
    ):
        with pytest.raises(UnprovenError, match=reason):
            _check_arguments(with_(**more))
    for upcoming in ({"position_ids": torch.tensor([[11]])}, {}):
        with pytest.raises(UnprovenError, match="don't count on"):
            _check_arguments(replace(plain, step=upcoming))


def decoder(**config: Any) -> Any:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 16, "hidden_size": WIDTH, "intermediate_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 1.0,
    }  # fmt: skip
    made = Qwen2Model(Qwen2Config(**sizes | config)).double().eval()
    return SimpleNamespace(get_decoder=lambda: made, dtype=torch.float64)


def shown() -> Trial:
    rows = torch.randn(1, len(IDS), WIDTH, dtype=torch.float64)
    base = trial(IDS, 2)
    return replace(base, kwargs=base.kwargs | {"inputs_embeds": rows, "use_cache": True})


def layout(frame: list[int]) -> Layout:
    index = torch.tensor(FIRST + LAST)
    return Layout(index, torch.tensor(frame), torch.arange(6) % 3)


def test_a_stock_decoder_confirms_that_dropped_rows_are_as_masked_ones() -> None:
    _prove(decoder(), RUNS, shown(), layout([0, 0, 0, 1, 1, 1]))


def test_a_decoder_that_counts_tokens_itself_refutes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose positions follow from the number of tokens: a gap in them is lost."""
    of_rows = discovery._of_rows

    def renumbered(kwargs: Any, positions: Any, rows: torch.Tensor) -> dict[str, Any]:
        return of_rows(kwargs, positions, rows) | {"position_ids": torch.arange(len(rows))[None]}

    monkeypatch.setattr(discovery, "_of_rows", renumbered)
    with pytest.raises(UnprovenError, match="as if they were masked"):
        _prove(decoder(), RUNS, shown(), layout([0, 0, 0, 1, 1, 1]))
    # Nothing to compare with where a masked token leaves something behind.
    lossy = replace(RUNS, keeps_every_token=False)
    _prove(decoder(), lossy, shown(), layout([0, 0, 0, 1, 1, 1]))


def test_positions_that_are_passed_must_be_neutral() -> None:
    one = shown()
    offset = replace(one, kwargs=one.kwargs | {"position_ids": None})
    _prove(decoder(), RUNS, offset, layout([0, 0, 0, 1, 1, 1]))
    model = decoder()
    stock = model.get_decoder()

    def shifted(position_ids: Any = None, **kwargs: Any) -> Any:
        extra = 0 if position_ids is None else torch.arange(position_ids.shape[-1]) ** 2
        return stock(position_ids=None if position_ids is None else position_ids + extra, **kwargs)

    shifted.config = stock.config  # type: ignore[attr-defined]
    other = SimpleNamespace(get_decoder=lambda: shifted, dtype=torch.float64)
    with pytest.raises(UnprovenError, match="numbers tokens in a way of its own"):
        _prove(other, RUNS, offset, layout([0, 0, 0, 1, 1, 1]))


def test_what_is_cut_are_the_rows_that_stay() -> None:
    """Two visual tokens of three stay; DeepStack has a row for each visual token alone."""
    visual = torch.tensor([[False, True, True, True, False]])
    kwargs = {
        "inputs_embeds": torch.arange(5.0)[None, :, None],
        "attention_mask": torch.tensor([[1, 2, 3, 4, 5]]),
        "visual_pos_masks": visual,
        "deepstack_visual_embeds": [torch.tensor([[10.0], [20.0], [30.0]])],
        "use_cache": True,
    }
    positions = torch.tensor([[[5, 6, 7, 8, 9]]] * 3)
    cut = _of_rows(kwargs, positions, torch.tensor([0, 1, 3, 4]))
    assert cut["inputs_embeds"].flatten().tolist() == [0, 1, 3, 4]
    assert cut["attention_mask"].tolist() == [[1, 2, 4, 5]]
    assert cut["visual_pos_masks"].tolist() == [[False, True, True, False]]
    assert cut["deepstack_visual_embeds"][0].flatten().tolist() == [10, 30]
    assert cut["position_ids"].tolist() == [[[5, 6, 8, 9]]] * 3
    assert cut["use_cache"] is True


def test_which_caches_keep_every_token() -> None:
    assert _keeps_every_token(decoder())
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    assert not _keeps_every_token(decoder(**window))


def test_noise_is_the_same_but_for_the_frame_that_changed() -> None:
    base, other = noise(3), noise(3, changed=1)
    assert np.array_equal(base.frames[[0, 2]], other.frames[[0, 2]])
    assert (base.frames[1] != other.frames[1]).all()  # every value, so that every token changes
    assert base.timestamps_s == (0, 1, 2)
