"""Batches for training: clips with several questions packed behind each, masked from each other.

A row is `<|im_start|> user <video>* | question answer | question answer | ... | padding`. Each
question sees the video and itself, and its positions begin right behind the video: so what the
model learns is what it is asked later, one question at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaOnevisionVideoProcessor

from dycoke_cli.models.mini.architecture import FRAME_TOKENS
from dycoke_cli.models.mini.eyes import what_is_where
from dycoke_cli.models.mini.memory import what_happened
from dycoke_cli.models.mini.questions import Question, ask
from dycoke_cli.models.mini.render import render
from dycoke_cli.models.mini.tokenizer import Codec
from dycoke_cli.models.mini.world import THINGS_SHARES, Script, draw_script

IGNORED = -100


@dataclass(frozen=True)
class Shape:
    """What a batch holds.

    Attributes:
        videos: how many clips (B).
        frames: frames a clip (F); with 1 all things stay.
        things: shares of clips with 1, 2 and 3 things.
        text: tokens of questions and answers behind each video (T); may be 0.
        eyes_only: only the vision tower is trained.
        grid: 0, or the number of evenly spread frames of which only `frames` are shown, the first
            among them. Positions then tell when a frame was: they skip what isn't shown.
        first: kinds of questions that come before all others, so that they surely fit.
        sides: sides in pixels that frames are drawn at; the processor makes 64 of them.
    """

    videos: int
    frames: int
    things: tuple[float, ...] = THINGS_SHARES
    text: int = 160
    eyes_only: bool = False
    grid: int = 0
    first: tuple[str, ...] = ()
    sides: tuple[int, ...] = (64, 64, 64, 128)


@dataclass
class Batch:
    """Tensors of a batch; P is the length of the prefix (2 + F * 16 + 1), T that of the text.

    Attributes:
        eyes_only: only the vision tower is trained.
        pixels: [B, F, 3, 64, 64] float32.
        text: [B, T] int64, the tokens behind the video.
        labels: [B, T] int64, the next token where it belongs to an answer, else -100.
        weights: [B, T] float32, how much a label counts.
        segments: [B, T] int64, which of the row's questions a token belongs to; -1 for padding.
        positions: [B, P + T] int64.
        seen: [B, F, 16, 4] int64, what is at each visual token (see `eyes`).
        known: [B, F, 16, 4] int64, what happened to it until then (see `memory`).
        questions: the questions of each row, in order.
    """

    eyes_only: bool
    pixels: Tensor
    text: Tensor
    labels: Tensor
    weights: Tensor
    segments: Tensor
    positions: Tensor
    seen: Tensor
    known: Tensor
    questions: list[list[Question]]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.eyes_only,
            self.pixels.to(device),
            self.text.to(device),
            self.labels.to(device),
            self.weights.to(device),
            self.segments.to(device),
            self.positions.to(device),
            self.seen.to(device),
            self.known.to(device),
            self.questions,
        )


def make_batch(
    seed: list[int], shape: Shape, split: str, codec: Codec, processor: LlavaOnevisionVideoProcessor
) -> Batch:
    """The batch of a seed; the same seed gives the same batch."""
    rng = np.random.default_rng(seed)
    still = shape.frames == 1
    rows, clips, seen, known = [], [], [], []
    side = int(rng.choice(shape.sides))
    shown = shown_frames(shape, rng)
    for row in range(shape.videos):
        things = int(rng.choice(3, p=shape.things)) + 1
        script = draw_script([*seed, row], split, things, still=still)
        questions = ask(script, rng, still=still)
        questions.sort(key=lambda q: q.kind not in shape.first)
        rows.append(pack(questions, shape, codec))
        times = frame_times(shape.grid or shape.frames, rng)[shown]
        clips.append(draw_clip(script, times, side, rng))
        seen.append(what_is_where(script, times))
        known.append(what_happened(script, times))
    pixels = to_pixels(np.concatenate(clips), processor)
    pixels = pixels.view(shape.videos, shape.frames, *pixels.shape[1:])
    text, labels, segments, offsets = (
        torch.tensor([getattr(r, name) for r in rows], dtype=torch.long)
        for name in ("text", "labels", "segments", "positions")
    )
    weights = torch.tensor([r.weights for r in rows], dtype=torch.float32)
    head = head_positions(shape, shown).expand(shape.videos, -1)
    positions = torch.cat([head, offsets + head[0, -1] + 1], dim=1)
    facts = torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(known))
    asked = [r.questions for r in rows]
    return Batch(shape.eyes_only, pixels, text, labels, weights, segments, positions, *facts, asked)


def prefix_length(frames: int) -> int:
    """Tokens up to the end of the video: the opening, the role, the frames, the newline."""
    return 2 + frames * FRAME_TOKENS + 1


def shown_frames(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Which frames of the grid are shown: [F] int, ascending."""
    if not shape.grid:
        return np.arange(shape.frames)
    others = rng.choice(np.arange(1, shape.grid), size=shape.frames - 1, replace=False)
    return np.array([0, *sorted(others)])


def head_positions(shape: Shape, shown: np.ndarray) -> Tensor:
    """Positions of the opening, the role, the shown frames and the newline: [P] int64."""
    frames = torch.from_numpy(shown)[:, None] * FRAME_TOKENS + torch.arange(FRAME_TOKENS)
    newline = prefix_length(shape.grid or shape.frames) - 1
    return torch.cat([torch.arange(2), 2 + frames.flatten(), torch.tensor([newline])])


def frame_times(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Times spread evenly: from the very edges of the clip to the middles of equal parts."""
    edge = rng.uniform(0, 0.5 / frames, size=2)
    if frames == 1:
        return np.array([0.5])
    return np.linspace(edge[0], 1 - edge[1], frames)


def draw_clip(script: Script, times: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """[F, side, side, 3] uint8: edges now sharper, now softer, as codecs and scalers leave them."""
    softness = float(rng.uniform(0.8, 1.6)) * side / 64
    noise = float(rng.uniform(0, 4)) if rng.random() < 0.3 else 0.0
    return render(
        script, times, side, softness=softness, noise=noise, seed=int(rng.integers(10**9))
    )


def to_pixels(frames: np.ndarray, processor: LlavaOnevisionVideoProcessor) -> Tensor:
    """[N, side, side, 3] uint8 -> [N, 3, 64, 64] float32, by the stock video processor."""
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    pixels: Tensor = processor([video], return_tensors="pt")["pixel_values_videos"][0]
    return pixels


@dataclass
class Row:
    """The packed questions of one clip: lists of T numbers each, and the questions themselves."""

    text: list[int]
    labels: list[int]
    weights: list[float]
    segments: list[int]
    positions: list[int]
    questions: list[Question]


def pack(questions: list[Question], shape: Shape, codec: Codec) -> Row:
    """As many of the questions as fit into `shape.text` tokens, in the order given."""
    row = Row([], [], [], [], [], [])
    for question in questions:
        asked, answer = codec.question(question.text), codec.answer(question.answer)
        # The end token is what the last word predicts; nothing is predicted from it.
        ids = [*asked, *answer[:-1]]
        if len(row.text) + len(ids) > shape.text:
            continue
        row.text += ids
        row.labels += [IGNORED] * (len(asked) - 1) + list(answer)
        # Between every word and every answer counting the same: "Yes." is a short answer.
        row.weights += [len(answer) ** -0.5] * len(ids)
        row.segments += [len(row.questions)] * len(ids)
        row.positions += range(len(ids))
        row.questions.append(question)
    left = shape.text - len(row.text)
    row.text += [codec.pad] * left
    row.labels += [IGNORED] * left
    row.weights += [0.0] * left
    row.segments += [-1] * left
    row.positions += [0] * left
    return row
