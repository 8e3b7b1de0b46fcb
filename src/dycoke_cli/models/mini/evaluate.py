"""How many questions a checkpoint answers exactly right: generated, one question at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

from dycoke_cli.models.mini.questions import KINDS, Question, ask
from dycoke_cli.models.mini.render import render
from dycoke_cli.models.mini.world import draw_script
from dycoke_cli.video import Sampling, read

# Clips are drawn larger than the model sees them, as real ones are.
SIDE = 256


@dataclass(frozen=True)
class Answered:
    """A question and what the model said to it."""

    question: Question
    said: str
    frames: int

    @property
    def right(self) -> bool:
        """Whether the answer is right to the letter."""
        return self.said == self.question.answer


class Model:
    """A checkpoint folder, loaded by stock classes only."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
        self.model: Any = model.eval()
        self.model.to(device)

    def answer(self, frames: np.ndarray, questions: list[str], most_tokens: int = 96) -> list[str]:
        """Greedy answers to several questions about one clip, each asked on its own.

        Args:
            frames: [F, height, width, 3] uint8.
            questions: as a person types them.
            most_tokens: an answer is cut there.
        """
        prompts = [
            self.processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "video"}, {"type": "text", "text": question}],
                    }
                ],
                add_generation_prompt=True,
            )
            for question in questions
        ]
        inputs = self.processor(
            text=prompts, videos=[frames] * len(prompts), padding=True, return_tensors="pt"
        ).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=most_tokens, do_sample=False)
        said = tokens[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.processor.batch_decode(said, skip_special_tokens=True)
        return [text.strip() for text in texts]


def evaluate(
    model: Model,
    scripts: int,
    frames: tuple[int, ...],
    split: str = "test",
    seed: int = 0,
    each: Callable[[], None] = lambda: None,
) -> list[Answered]:
    """Asks about scripts that were never trained on: one question of each kind a script.

    Args:
        model: the checkpoint.
        scripts: how many; they take turns in the number of frames.
        frames: numbers of frames.
        split: which scripts.
        seed: of scripts, wordings and choice.
        each: called after each script.
    """
    answered = []
    for i in range(scripts):
        script = draw_script([seed, i], split)
        rng = np.random.default_rng([seed, i, 1])
        chosen: dict[str, Question] = {}
        for question in ask(script, rng):
            chosen.setdefault(question.kind, question)
        count = frames[i % len(frames)]
        middles = i // len(frames) % 2
        times = (np.arange(count) + 0.5) / count if middles else np.linspace(0, 1, count)
        clip = render(script, times, SIDE)
        said = model.answer(clip, [q.text for q in chosen.values()])
        answered += [Answered(q, s, count) for q, s in zip(chosen.values(), said, strict=True)]
        each()
    return answered


def evaluate_clips(model: Model, folder: Path, frames: int = 32) -> dict[str, list[Answered]]:
    """Asks what `samples.json` asks about the clips of a folder, read as any video file is.

    Args:
        model: the checkpoint.
        folder: holds the clips and samples.json.
        frames: at most so many are read of each clip.

    Returns:
        The answers by file name.
    """
    found = {}
    for entry in json.loads((folder / "samples.json").read_text()):
        clip = read(folder / entry["file"], Sampling(frames=frames)).frames
        asked = [Question(**question) for question in entry["questions"]]
        said = model.answer(clip, [q.text for q in asked])
        found[entry["file"]] = [Answered(q, s, len(clip)) for q, s in zip(asked, said, strict=True)]
    return found


def by_kind(answered: list[Answered]) -> dict[str, tuple[int, int]]:
    """Right answers and questions, by kind of question."""
    found = {}
    for kind in KINDS:
        of_kind = [a for a in answered if a.question.kind == kind]
        if of_kind:
            found[kind] = (sum(a.right for a in of_kind), len(of_kind))
    return found


def mean_accuracy(answered: list[Answered]) -> float:
    """Share of right answers, as the mean over the kinds of questions."""
    shares = [right / asked for right, asked in by_kind(answered).values()]
    return sum(shares) / max(1, len(shares))
