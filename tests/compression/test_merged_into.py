"""Where merged tokens went: from it, and the features alone, what was merged is computed again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from dycoke_cli.compression.method import MergedFrames, Method, Selection, SelectionInputs
from dycoke_cli.compression.methods import (
    EVS,
    DyCoke,
    DyCokePlus,
    EarlyTom,
    FastVID,
    FlashVID,
    FrameFusion,
    HoliTom,
    MaxMin,
    PruMerge,
    RandomMerge,
    ToMe,
    VisionZip,
)
from dycoke_cli.compression.methods.holitom import CENTER_WEIGHT
from dycoke_cli.compression.methods.prumerge import CLUSTER
from dycoke_cli.engine.selecting import selected
from tests.compression.clips import CLIPS, given

Made = Callable[[torch.Tensor, int, list[int]], torch.Tensor]
BUSY = ("noise", "drift", "cut", "moving", "two frames")


def members(selection: Selection, token: int) -> list[int]:
    """What is represented by a token, itself among them."""
    assert selection.into is not None
    return (selection.into == token).nonzero().flatten().tolist()


def tokens_of(clip: str) -> torch.Tensor:
    return CLIPS[clip].double().flatten(0, 1)


def features(selection: Selection) -> dict[int, torch.Tensor]:
    assert selection.features is not None
    return dict(zip(selection.kept.tolist(), selection.features.double(), strict=True))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def mean_of_all(tokens: torch.Tensor, token: int, went: list[int]) -> torch.Tensor:
    return tokens[went].mean(0)


def added(tokens: torch.Tensor, token: int, went: list[int]) -> torch.Tensor:
    others = [other for other in went if other != token]
    return tokens[token] + (tokens[others].mean(0) if others else 0)


def weighed(tokens: torch.Tensor, token: int, went: list[int]) -> torch.Tensor:
    weight = FastVID().anchor_weight
    return weight * tokens[token] + (1 - weight) * tokens[went].mean(0)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (DyCokePlus(retain=0.3), mean_of_all),
        (FrameFusion(0.3), mean_of_all),
        (ToMe(0.3), mean_of_all),
        (EVS(0.3, merge_dropped=True), mean_of_all),
        (MaxMin(0.2, merge_dropped=True), mean_of_all),
        (VisionZip(retain=0.5, contextual=0.4), added),
        (FastVID(retain=0.5, anchor_every=1), weighed),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("clip", BUSY)
def test_it_is_made_of_what_went_there(clip: str, method: Method, expected: Made) -> None:
    selection, tokens = selected(method, given(clip)), tokens_of(clip)
    assert selection.kept.tolist() == method.choose(given(clip)).kept.tolist()
    went = {token: members(selection, token) for token in selection.kept.tolist()}
    assert max(map(len, went.values())) > 1, "else nothing was merged"
    for token, merged in features(selection).items():
        close(merged, expected(tokens, token, went[token]))


@pytest.mark.parametrize("clip", BUSY)
def test_fastvid_merges_every_token(clip: str) -> None:
    into = FastVID(retain=0.5, anchor_every=1).choose(given(clip)).into
    assert into is not None
    assert -1 not in into.tolist()


@pytest.mark.parametrize("clip", BUSY)
def test_flashvid_is_the_mean_of_a_tree(clip: str) -> None:
    """Where a token stands for no other of its frame, so that there is no cluster but a tree."""
    method = FlashVID(retain=0.7, merge_threshold=0.1)
    selection, tokens = method.choose(given(clip)), tokens_of(clip)
    per_frame = CLIPS[clip].shape[1]
    for token, merged in features(selection).items():
        went = members(selection, token)
        if sum(one // per_frame == token // per_frame for one in went) == 1:
            close(merged, tokens[went].mean(0))
        assert token // per_frame == min(went) // per_frame


@pytest.mark.parametrize("clip", ["static", "cut", "drift"])
def test_holitom_is_made_of_means_over_time(clip: str) -> None:
    selection, tokens = HoliTom(retain=0.1).choose(given(clip)), tokens_of(clip)
    per_frame, count = CLIPS[clip].shape[1], 0
    for token, merged in features(selection).items():
        over_time: dict[int, list[int]] = {}
        for one in members(selection, token):
            over_time.setdefault(one % per_frame, []).append(one)
        means = {place: tokens[at].mean(0) for place, at in over_time.items()}
        own = means.pop(token % per_frame)
        if means:
            own = CENTER_WEIGHT * own + (1 - CENTER_WEIGHT) * torch.stack([*means.values()]).mean(0)
        close(merged, own)
        count += len(means)
    assert clip == "drift" or count, "else no cluster was merged"


@pytest.mark.parametrize("clip", BUSY)
def test_prumerge_goes_to_the_most_alike_or_to_the_rest(clip: str) -> None:
    of_clip = given(clip)
    selection = PruMerge(retain=0.5).choose(of_clip)
    assert selection.into is not None
    assert of_clip.keys is not None
    assert of_clip.attention is not None
    per_frame = CLIPS[clip].shape[1]
    nearest = min(max(1, round(CLUSTER * per_frame)), per_frame - 1)
    for frame, keys in enumerate(of_clip.keys.double()):
        into = selection.into[frame * per_frame : (frame + 1) * per_frame] - frame * per_frame
        kept = [token for token in range(per_frame) if into[token] == token]
        scores = of_clip.attention[frame].tolist()
        rest = min(kept, key=lambda token: (scores[token], -token))
        alike = F.normalize(keys, dim=-1) @ F.normalize(keys, dim=-1).T
        alike.fill_diagonal_(-2)  # not with itself
        near = {
            one: alike[one].float().argsort(descending=True, stable=True)[:nearest].tolist()
            for one in set(kept) - {rest}
        }
        for token in set(range(per_frame)) - {*kept}:
            owners = [one for one, cluster in near.items() if token in cluster]
            best = max(owners, key=lambda one: float(alike[one, token].float()), default=rest)
            assert int(into[token]) == best


def test_ttm_and_merged_frames_go_to_the_same_place() -> None:
    into = DyCoke(merge_ratio=0.5).choose(given("drift")).into
    assert into is not None
    assert all(target % 10 == token % 10 for token, target in enumerate(into.tolist()))
    shown = given("two frames")
    merged = SelectionInputs(shown.features, shown.attention, merged=MergedFrames((0, 0), (0, 0)))
    selection = EarlyTom(retain=0.25).choose(merged)
    assert selection.into is not None
    first, second = selection.into.view(2, 9).tolist()
    assert first == second == [n if n in selection.kept.tolist() else -1 for n in range(9)]


def test_what_is_drawn_at_random_is_merged_into_nothing() -> None:
    assert RandomMerge().choose(given("drift")).into is None
