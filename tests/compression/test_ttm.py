"""TTM against loops, against counts worked out by hand, and on ties."""

from itertools import product

import pytest
import torch

from dycoke_cli.compression.ttm import keep_indices, kept_tokens
from dycoke_cli.errors import UsageError
from tests.engine.reference import merge, published_merge

PUBLISHED_COUNTS = {  # N=196, K=.7: int(0.3 * 196) = 58
    5: 370, 6: 624, 7: 624, 8: 878, 9: 740, 10: 994, 16: 1618,
    31: 2844, 32: 3098, 33: 2960, 64: 6058, 128: 11978,
}  # fmt: skip


def random_features(frames, per_frame, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, per_frame, 12, generator=generator)


@pytest.mark.parametrize(
    ("frames", "ratio", "window"),
    [*product((1, 2, 3, 4, 5, 6, 7, 8, 13), (0.0, 0.3, 0.7, 0.99), (2, 4, 6))],
)
def test_it_is_the_rule_by_loops(frames, ratio, window):
    features = random_features(frames, 9, seed=frames)
    chosen = keep_indices(features, ratio, window).tolist()
    assert chosen == merge(features, ratio, window)
    assert len(chosen) == kept_tokens(frames, 9, ratio, window)


def test_kept_counts_have_no_epsilon():
    # In double precision (1 - 0.9) * 10 is 0.9999…, so nothing of a compared frame stays.
    assert kept_tokens(4, 10, 0.9) == 10
    assert kept_tokens(4, 196, 0.7) == 196 + 3 * 58


def test_bfloat16_is_ranked_in_float32():
    # Angles so close that bfloat16 similarities tie; in float32 position 3 is the least like.
    reference = torch.ones(1, 4, 64, dtype=torch.bfloat16)
    frame = reference.clone()
    for position in range(4):
        frame[0, position, : position + 1] += 0.0625 * (position + 1)
    features = torch.cat([reference, frame])
    rounded = torch.nn.functional.cosine_similarity(frame[0], reference[0], dim=-1)
    assert len(set(rounded.tolist())) < 4
    assert keep_indices(features, 0.75).tolist() == [0, 1, 2, 3, 7]


@pytest.mark.parametrize(("frames", "count"), PUBLISHED_COUNTS.items())
def test_published_counts(frames, count):
    assert kept_tokens(frames, 196, 0.7, variant="published") == count
    features = random_features(frames, 196)
    assert len(keep_indices(features, 0.7, variant="published")) == count


@pytest.mark.parametrize(("frames", "ratio"), [(5, 0.3), (8, 0.5), (13, 0.9)])
def test_published_tokens_and_their_order_are_the_rule_by_loops(frames, ratio):
    features = random_features(frames, 10)
    chosen = keep_indices(features, ratio, variant="published").tolist()
    assert chosen == published_merge(features, ratio)


def test_published_compares_an_odd_frame_with_the_one_before_it():
    """By hand; the first upload of the published code took another pair's similarities.

    Tokens of frames 0, 2 and 4 all point the same way, those of an odd frame are turned by the
    degrees that stand here: the more, the less alike.
    """
    turned = {1: (10, 80, 40, 60), 3: (70, 20, 50, 30), 5: (0, 30, 60, 90)}
    angles = torch.tensor([turned.get(frame, (0, 0, 0, 0)) for frame in range(6)]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], dim=-1)
    chosen = keep_indices(features, 0.5, variant="published").tolist()
    # Two of four stay, the most turned first: 80 and 60 degrees, 70 and 50, 90 and 60. Frame 2 is
    # like frame 0 everywhere, so its first two stay; frame 4 isn't compared.
    assert chosen == [0, 1, 2, 3, 5, 7, 8, 9, 12, 14, 16, 17, 18, 19, 23, 22]


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_published_fails_on_four_frames_or_fewer(frames):
    with pytest.raises(ValueError, match=f"more than 4 frames, not {frames}"):
        keep_indices(random_features(frames, 10), 0.5, variant="published")
    with pytest.raises(UsageError):
        kept_tokens(frames, 10, 0.5, variant="published")
