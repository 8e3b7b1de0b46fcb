"""Dynamic KV pruning, step by step, worked by hand."""

import itertools

import pytest
import torch

from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.methods.dycoke import DyCoke


def steps(selector, *attentions):
    return [selector.step(torch.tensor(attention)).tolist() for attention in attentions]


def test_attention_is_compared_with_the_last_choice_not_the_last_step():
    # Each step is near the one before, yet far from where the choice was made.
    angles = [torch.tensor([1.0, t, t * t, 0.2]) for t in (0.0, 0.4, 0.8, 1.2)]
    cosine = torch.nn.functional.cosine_similarity
    assert all(cosine(a, b, dim=0) > 0.85 for a, b in itertools.pairwise(angles))
    assert cosine(angles[0], angles[2], dim=0) < 0.85
    selector = VisualSelector(prune_ratio=0.5, recall_threshold=0.85)
    assert steps(selector, *[a.tolist() for a in angles]) == [[0, 3], [0, 3], [0, 1], [0, 1]]
    published = VisualSelector(prune_ratio=0.5, recall_threshold=0.85, variant="published")
    # Near the step before: the full cache.
    assert steps(published, *[a.tolist() for a in angles]) == [[0, 3], *[[0, 1, 2, 3]] * 3]


@pytest.mark.parametrize(
    ("visual", "ratio", "active"),
    [(10, 0.7, 3), (10, 0.9, 0), (10, 0.0, 10), (1, 0.7, 0), (2960, 0.7, 888), (7, 0.5, 3)],
)
def test_counts_are_int_of_double_precision(visual, ratio, active):
    # (1 - 0.9) * 10 is 0.9999… and (1 - 0.7) * 10 is 3.0000…4
    selector = VisualSelector(ratio, 0.9)
    assert len(selector.step(torch.rand(visual))) == active


@pytest.mark.parametrize("variant", ["paper", "published"])
@pytest.mark.parametrize("visual", [1, 2, 10, 2978, 3098])
def test_an_estimate_counts_what_a_selection_leaves(variant, visual):
    selector = VisualSelector(0.7, 0.9, variant=variant)
    active = len(selector.step(torch.rand(visual)))
    assert DyCoke(variant=variant, prune_ratio=0.7).attended_tokens(visual) == active


@pytest.mark.parametrize("variant", ["paper", "published"])
def test_a_similarity_equal_to_the_threshold_is_none_below_it(variant):
    # (3, 4) and (4, 3), of length 5: their cosine is 24 / 25.
    first, second = [3.0, 4.0, 0.0], [4.0, 3.0, 0.0]
    cosine = torch.nn.functional.cosine_similarity
    similarity = float(cosine(torch.tensor(second[:2]), torch.tensor(first[:2]), dim=0))
    assert similarity == pytest.approx(24 / 25)
    for threshold, moved in ((similarity, 0), (similarity + 1e-3, 1)):
        selector = VisualSelector(0.5, threshold, variant=variant)
        steps(selector, first, second)
        assert selector.reselections == moved
