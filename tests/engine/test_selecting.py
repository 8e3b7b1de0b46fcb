"""Selections of several videos in one prompt, counted on from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.engine.model_inputs import EmbeddedPrompts
from dycoke_cli.engine.selecting import EncodedVideos, kept_of_each
from dycoke_cli.engine.vision import Encoded
from dycoke_cli.models.families import Layout


def layout(start: int, frames: int, per_frame: int) -> Layout:
    order = torch.arange(frames * per_frame)
    return Layout(order + start, order // per_frame, order % per_frame)


# A word, a video of four tokens, a word, one of six, two words.
VIDEOS = (layout(1, 2, 2), layout(6, 2, 3))
ROWS = torch.arange(14.0)[None, :, None]
PROMPTS = EmbeddedPrompts(ROWS, [VIDEOS], torch.ones(1, 14, dtype=torch.bool), 0)
# Of the first video tokens 0 and 3 stand for two each; of the second 1 for one and 4 for four, and
# token 5 is merged into none.
FIRST = Selection(torch.tensor([0, 3]), torch.tensor([[0.5], [3.5]]), torch.tensor([0, 0, 3, 3]))
SECOND = Selection(
    torch.tensor([1, 4]), torch.tensor([[1.5], [4.5]]), torch.tensor([4, 1, 4, 4, 4, -1])
)


@dataclass(frozen=True, eq=False)
class Chosen(Method):
    """A method that chooses what it is given, by the size of the video."""

    of: dict[int, Selection]
    seen: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """It has no parameters to check."""

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        return len(self.of[frames * per_frame].kept)

    def choose(self, inputs: SelectionInputs) -> Selection:
        tokens = inputs.features.flatten()
        self.seen.append(tokens.tolist())
        return self.of[len(tokens)]


def selected(first: Selection, second: Selection) -> Selection:
    method = Chosen({4: first, 6: second})
    videos = EncodedVideos(None, [[Encoded(torch.zeros(4, 1)), Encoded(torch.zeros(6, 1))]])
    [found] = videos.select(method, PROMPTS)
    assert method.seen == [[1, 2, 3, 4], [6, 7, 8, 9, 10, 11]]
    # The same for the next question.
    assert videos.select(method, PROMPTS)[0].kept.tolist() == found.kept.tolist()
    assert len(method.seen) == 2
    return found


def test_indices_and_weights_of_a_second_video_count_on() -> None:
    found = selected(FIRST, SECOND)
    assert found.kept.tolist() == [0, 3, 5, 8]
    assert found.features.flatten().tolist() == [0.5, 3.5, 1.5, 4.5]
    assert found.into.tolist() == [0, 0, 3, 3, 8, 5, 8, 8, 8, -1]
    assert found.sizes.tolist() == [2, 2, 1, 4]
    assert kept_of_each(found.kept, VIDEOS) == (2, 2)


def test_a_video_without_merged_tokens_has_its_own_rows() -> None:
    found = selected(FIRST, Selection(torch.tensor([2, 5])))
    assert found.kept.tolist() == [0, 3, 6, 9]
    assert found.features.flatten().tolist() == [0.5, 3.5, 8, 11]
    assert found.sizes.tolist() == [2, 2, 1, 1]


def test_where_nothing_is_merged_there_are_no_features() -> None:
    found = selected(Selection(torch.tensor([3])), Selection(torch.tensor([0, 1])))
    assert found.kept.tolist() == [3, 4, 5]
    assert found.features is None
    assert kept_of_each(found.kept, VIDEOS) == (1, 2)
