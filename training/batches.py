"""Batches for training: clips with several questions packed behind each, masked from each other.

A row is `<|im_start|> user <video>* | question answer | question answer | ... | padding`. Each
question sees the video and itself, and its positions begin right behind the video: so what the
model learns is what it is asked later, one question at a time.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import Script
from training.model import FRAME_TOKENS, SIDE, pixels_of
from training.packing import in_turns, pack
from training.text_targets import CHOSEN, NAMED
from training.tokenizer import OPENING, Codec
from training.visual_targets import facts_of, out_of_domain_facts
from training.world.out_of_domain import out_of_domain_clip
from training.world.random_scripts import ScriptLimits, draw_script
from training.world.script_questions import ScriptQuestion, ask, ask_the_unknown, event_clause

# Shares of clips that went through an encoder.
ENCODED = 0.5
# Frames are drawn at these shares of SIDE; the processor makes SIDE of them.
SCALES = (1, 1, 1, 1, 1.5, 2)


@dataclass(frozen=True)
class Shape:
    """What a batch holds."""

    videos: int  # how many clips (B)
    frames: int  # frames a clip (F)
    limits: ScriptLimits = field(default_factory=ScriptLimits)  # what the scripts may hold
    text: int = 256  # tokens of questions and answers behind each video (T); may be 0
    vision_only: bool = False  # only the vision tower is trained
    # 0, or the number of evenly spread frames of which only `frames` are shown, the first among
    # them (frame dropout). Positions tell when a frame was: they skip the others.
    grid: int = 0
    # kinds of questions that come before all others, so that they surely fit
    first: tuple[str, ...] = ()
    out_of_domain: float = 0.05  # share of clips that show something else than the model's world
    token_dropout: float = 0.0  # largest share of a frame's tokens that no other token attends to

    @property
    def prefix(self) -> int:
        """Tokens up to the end of the video (P): the opening, the frames, what ends it."""
        return len(OPENING) + self.frames * FRAME_TOKENS + 1

    def without_dropout(self) -> Shape:
        """The same with all tokens attended to, and all frames of the grid shown.

        Where frames were missing, it has fewer clips, so that there are about as many frames.
        """
        if not self.grid:
            return replace(self, token_dropout=0.0)
        videos = max(1, round(self.videos * self.frames / self.grid))
        return replace(self, videos=videos, frames=self.grid, grid=0, token_dropout=0.0)


@dataclass
class Batch:
    """Tensors of a batch; P is the length of the prefix (`Shape.prefix`), T that of the text.

    `text_targets` makes what is learned at tokens of the text, `visual_targets` what is at frames.
    """

    vision_only: bool  # only the vision tower is trained
    pixels: Tensor  # [B, F, 3, SIDE, SIDE] float32, as the stock video processor gives them
    text: Tensor  # [B, T] int64, the tokens behind the video
    labels: Tensor  # [B, T] int64, the next token where it is learned, else -100
    answered: Tensor  # [B, T] bool, whether the label belongs to an answer
    weights: Tensor  # [B, T] float32, how much a label counts
    verdicts: Tensor  # [B, T] int64, 1 or 0 at the end of a true or false claim, else -100
    named: Tensor  # [B, T, 3] int64, whom a name means where that is settled, else 0
    placed: Tensor  # [B, T] int64, number of the event named to its end here, else 0
    sought: Tensor  # [B, T] int64, number of the event that the token predicted here tells, else 0
    chosen: Tensor  # [B, T, 2] int64, the letter of an option that ends here, else 0
    dropped: Tensor  # [B, P + T] bool, tokens that no other token attends to (visual-token dropout)
    # [B, T] int64, which of the row's questions a token belongs to; -1 for padding
    segments: Tensor
    positions: Tensor  # [B, P + T] int64
    seen: Tensor  # [B, F, N, 9] int64, what is at each visual token
    changed: Tensor  # [B, F, N, 5] int64, what is new since the frame before
    known: Tensor  # [B, F, N, 14] int64, what has happened until then
    earlier: Tensor  # [B, F, N, 5] int64, what had happened before that
    questions: list[list[ScriptQuestion]]  # the questions of each row, in order

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) for name, value in held.items() if torch.is_tensor(value)}
        return replace(self, **moved)  # type: ignore[arg-type]


def make_batch(
    seed: list[int],
    shape: Shape,
    split: str,
    codec: Codec,
    video_processor: Any,
    ask: Callable[[Script, np.random.Generator], list[ScriptQuestion]] = ask,
) -> Batch:
    """The batch of a seed; the same seed, and the same way to ask, gives the same batch."""
    rng = np.random.default_rng(seed)
    rows, clips, known = [], [], []
    side = round(SIDE * float(rng.choice(SCALES)))
    shown = shown_frames(shape, rng)
    for row in range(shape.videos):
        events: list[str] = []
        script = draw_script([*seed, row], split, shape.limits)
        times = frame_times(shape.grid or shape.frames, rng)[shown]
        if rng.random() < shape.out_of_domain:
            questions = ask_the_unknown(script, rng)[:3] if shape.text else []
            clip = out_of_domain_clip(len(times), side, rng)
            facts = out_of_domain_facts(len(times))
        else:
            asked = ask(script, rng) if shape.text else []
            events = [event_clause(script, event) for event in script.events]
            questions = in_turns(asked, shape.first, rng)
            softness = float(rng.uniform(0.8, 1.6)) * side / SIDE
            clip = render(script, times, side, softness=softness)
            facts = facts_of(script, times)
        if rng.random() < ENCODED and shape.frames > 1:
            clip = through_encoder(clip, script.camera.quality)
        rows.append(pack(questions, shape.text, codec, events))
        clips.append(clip)
        known.append(facts)

    def column(name: str, dtype: torch.dtype = torch.long) -> Tensor:
        told = [[getattr(token, name) for token in row.tokens] for row in rows]
        return torch.tensor(told, dtype=dtype)

    head = head_positions(shown, shape.grid or shape.frames).expand(shape.videos, -1)
    seen, changed, known_by_then, earlier = (
        torch.from_numpy(np.stack(facts)) for facts in zip(*known, strict=True)
    )
    return Batch(
        vision_only=shape.vision_only,
        pixels=pixels_of(clips, video_processor),
        text=column("text"),
        labels=column("label"),
        answered=column("answered", torch.bool),
        weights=column("weight", torch.float32),
        verdicts=column("verdict"),
        named=column("named").view(shape.videos, shape.text, len(NAMED)),
        placed=column("placed"),
        sought=column("sought"),
        chosen=column("chosen").view(shape.videos, shape.text, len(CHOSEN)),
        dropped=visual_token_dropout(shape, rng),
        segments=column("segment"),
        positions=torch.cat([head, column("position") + head[:, -1:] + 1], dim=1),
        seen=seen,
        changed=changed,
        known=known_by_then,
        earlier=earlier,
        questions=[row.questions for row in rows],
    )


def shown_frames(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Which of the video's evenly spread frames are shown: [F] int, ascending."""
    if not shape.grid:
        return np.arange(shape.frames)
    others = rng.choice(np.arange(1, shape.grid), size=shape.frames - 1, replace=False)
    return np.array([0, *sorted(others)])


def head_positions(shown: np.ndarray, spread: int) -> Tensor:
    """Positions of the opening, the frames shown and the newline: [1, P] int64; text comes behind.

    One behind the other; those of frames that aren't shown are skipped.

    Args:
        shown: [F] int, which of the video's frames are shown.
        spread: how many it has.
    """
    before, frame = len(OPENING), torch.arange(FRAME_TOKENS)
    frames = before + torch.from_numpy(shown)[:, None] * FRAME_TOKENS + frame
    newline = torch.tensor([before + spread * FRAME_TOKENS])
    return torch.cat([torch.arange(before), frames.flatten(), newline])[None]


def visual_token_dropout(shape: Shape, rng: np.random.Generator) -> Tensor:
    """Which tokens no other one attends to: [B, P + T] bool, each frame its own share of them.

    So what a token holds is held by others too, as it must be where a method drops or evicts some.
    """
    shares = rng.uniform(0, shape.token_dropout, size=(shape.videos, shape.frames, 1))
    drawn = rng.random((shape.videos, shape.frames, FRAME_TOKENS)) < shares
    before, behind = len(OPENING), 1 + shape.text
    found = np.pad(drawn.reshape(shape.videos, -1), ((0, 0), (before, behind)))
    return torch.from_numpy(found)


def frame_times(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Times spread evenly: from the very edges of the clip to the middles of equal parts."""
    edge = rng.uniform(0, 0.5 / frames, size=2)
    if frames == 1:
        return np.array([0.5])
    return np.linspace(edge[0], 1 - edge[1], frames)


def through_encoder(frames: np.ndarray, quality: int) -> np.ndarray:
    """Encodes pictures as H.264 and decodes them again.

    Args:
        frames: [F, H, W, 3] uint8; both sides even.
        quality: constant rate factor, 0 (lossless) to 51.

    Returns:
        The same shape and type.
    """
    kept = io.BytesIO()
    with av.open(kept, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 8)
        stream.options = {"crf": str(quality), "preset": "ultrafast", "threads": "1"}
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    kept.seek(0)
    with av.open(kept, "r") as coded:
        decoded = [f.to_ndarray(format="rgb24") for f in coded.decode(video=0)]
    return np.stack(decoded)
