"""Dycoke's own answers of the bundled model about the sample clips, each made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import torch
from mini_engine import Asked, sample_questions

from dycoke_cli import Sampling, VideoSession, load, read
from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_vllm.admission import admitted

QUESTIONS = 40
FRAMES, PER_FRAME = 32, 16
TOKENS = 48
"""Of an answer, at most."""
ROUNDING = 1e-6
"""Relative, of features: kernels of processors and engines differ by as much in float32."""


class Answer(NamedTuple):
    """An answer, and how many tokens its prompt has behind compression."""

    text: str
    prompt_tokens: int


def specs() -> Iterator[str]:
    """Every method of the registry that is served, and what of the others is."""
    for name in METHODS:
        for spec in (name, f"{name}:kv_prune=false"):
            try:
                admitted(spec, "renumbered")
            except UsageError:
                continue
            yield spec
    yield "dycoke-plus:merge_dropped=false,retain=0.1"
    yield "dycoke:variant=published,kv_prune=false"


def rounded_otherwise(method: Method, seed: int) -> Method:
    """A method that selects by features which are rounded in another way."""

    class Rounded(type(method)):  # type: ignore[misc]
        def choose(self, inputs: SelectionInputs) -> Selection:
            draw = torch.Generator().manual_seed(seed)
            noise = torch.randn(inputs.features.shape, generator=draw)
            features = inputs.features * (1 + ROUNDING * noise)
            return super().choose(replace(inputs, features=features))

    return Rounded(**method.parameters())


class OwnAnswers:
    """What `dycoke ask --positions renumbered` answers in float32.

    Attributes:
        questions: video and question.
        clips: by video.
        loaded: the model.
    """

    def __init__(self) -> None:
        self.questions = list(sample_questions())
        self.clips = {
            video: read(video, Sampling(frames=FRAMES))
            for video in sorted({video for video, _ in self.questions})
        }
        self.loaded = load("mini", dtype="float32")
        self._sessions = {
            video: VideoSession(self.loaded, clip, reuse=True) for video, clip in self.clips.items()
        }
        self.expected = cache(self._expected)

    def every(self) -> list[Asked]:
        """Each question by each method."""
        return [Asked(*one, spec) for one in self.questions[:QUESTIONS] for spec in specs()]

    def wrong(self, answered: Mapping[Asked, tuple[str, int]]) -> dict[Asked, tuple[str, int]]:
        """The answers that are others than ours, also where rounding decides what is selected.

        Tokens of plain areas are alike, so of one question in a hundred at most it does.
        """
        others = {one: got for one, got in answered.items() if got != self.expected(one)}
        if len(others) > len(answered) // 100:
            return others
        rounded = {
            one: {
                self._answer(one, rounded_otherwise(admitted(one.method, "renumbered"), seed))
                for seed in range(4)
            }
            for one in others
        }
        return {one: got for one, got in others.items() if got not in rounded[one]}

    def _expected(self, asked: Asked) -> Answer:
        return self._answer(asked, admitted(asked.method, "renumbered"))

    def _answer(self, asked: Asked, method: Method) -> Answer:
        answer = self._sessions[asked.video].ask(asked.question, method, max_tokens=TOKENS)
        return Answer(answer.answer, answer.tokens.text + answer.tokens.visual_kept)
