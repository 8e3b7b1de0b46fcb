"""The inputs of a selection, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dycoke_cli.lazy_torch import torch

Need = Literal["attention", "question", "frame_attention"]
"""Inputs that a method may request beside the features."""


@dataclass(frozen=True)
class MergedFrames:
    """What merging inside the vision tower has left of the frames of a video."""

    # for each frame the one that it is part of now: itself where it is left, or the earlier one
    # that it was merged into
    into: tuple[int, ...]
    groups: tuple[int, ...]  # for each frame the number of the group that it is in


@dataclass(frozen=True)
class SelectionInputs:
    """The inputs of a selection: a video; what a method doesn't request (`Method.needs`) is None.

    Args:
        features: `[F, N, D]`, float: the tokens of F frames with N positions each, as the language
            model would get them.
        attention: `[F, N]`, float32: how much the vision encoder attends to each token: in the last
            layer whose output is used, the attention of the class token's query, or of all
            queries in the mean where there is no class token; in the mean over heads, and over
            the patches that a token is pooled from.
        keys: `[F, N, K]`, float32: the keys of that layer, in the mean over heads and patches.
        question: `[Q, D]`, float: the embeddings of the text behind the video.
        frame_attention: `[F]`, float32: how much the language model attends to each frame, if it
            reads all tokens: that of the prompt's last token, after softmax over the video's
            tokens, in the mean over heads, the tokens of a frame and the last third of the layers.
        encoded: `[E]`, int64, ascending: flat indices of the tokens that the vision encoder put
            out, where some were dropped inside it (`Method.before_vision`): each other one has the
            features of the token that it was merged into. None where there are none.
        merged: what the method's `merge_frames` has left of the frames; None where it merges none.
            The features of a frame that was merged into another one are those of that one.
        so_far: what the method knows of the video up to the end of these frames, where they are a
            window of it (`Method.so_far`); () where they are all.
    """

    features: torch.Tensor
    attention: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    question: torch.Tensor | None = None
    frame_attention: torch.Tensor | None = None
    encoded: torch.Tensor | None = None
    merged: MergedFrames | None = None
    so_far: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The visual tokens that the language model reads.

    Args:
        kept: `[M]`, int64: flat indices `frame*N + position`, in the order in which the language
            model reads them.
        features: `[M, D]`, float: what it reads in their places, where others were merged into
            them; None where they stay what they are. What DeepStack adds behind the first layers
            isn't merged: kept tokens get their own, that of the others is dropped.
        into: `[F*N]`, int64: for each token the kept one that represents it: itself where it is
            kept, -1 where none does; of several that it is merged into, the one most like it. None
            of a method that merges nothing.
        counts: `[M]`, int64: how many tokens each kept one stands for, where it is known without
            `into`; else None.
    """

    kept: torch.Tensor
    features: torch.Tensor | None = None
    into: torch.Tensor | None = None
    counts: torch.Tensor | None = None

    @property
    def sizes(self) -> torch.Tensor | None:
        """How many tokens each kept one stands for: `[M]`, int64, on the CPU; or None.

        None where nothing is merged. What was merged into several counts for the one most like it.
        """
        if self.counts is not None:
            return self.counts
        if self.features is None or self.into is None:
            return None
        into = self.into.cpu()
        return into[into >= 0].bincount(minlength=len(into))[self.kept.cpu()]

    @classmethod
    def in_reading_order(
        cls, kept: torch.Tensor, features: torch.Tensor, into: torch.Tensor | None = None
    ) -> Selection:
        """That of tokens in any order."""
        order = kept.argsort()
        return cls(kept[order], features[order], into)


def into_itself(kept: torch.Tensor, tokens: int) -> torch.Tensor:
    """`[tokens]`, int64: the index of each token that is kept, -1 of each other one.

    Args:
        kept: `[M]`, int64, in any order.
        tokens: how many there are.
    """
    into = kept.new_full((tokens,), -1)
    into[kept] = kept
    return into


def counted_on(into: torch.Tensor, start: int) -> torch.Tensor:
    """`Selection.into` of a part of the tokens, by indices into all of them.

    Args:
        into: `[N]`, int64; -1 stays -1.
        start: how many tokens are before that part.
    """
    return into.where(into < 0, into + start)
