"""The training loop: one step a batch, saved every minute, continued where it was stopped."""

from __future__ import annotations

import json
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dycoke_cli.errors import ModelError
from dycoke_cli.resources import usable_cpus
from training.auxiliary_losses import PROBES, AuxiliaryLosses
from training.batches import Batch, Shape, make_batch
from training.checkpoints import State, Tell, is_kept, keep, start_from, take_up
from training.cpu_layers import ATTENTION, has_bfloat16
from training.curriculum import Recipe, Stage
from training.model import new_model, new_processor, speed_up
from training.muon import BatchedMuon
from training.objective import embed, exact_matches, loss_of, run_layers
from training.tokenizer import Codec, build_tokenizer
from training.world.script_questions import KINDS

LOG = "log.jsonl"
# Weight of one batch in the running accuracy, for a kind that is asked about once a clip.
MEMORY = 0.05


@dataclass
class Progress:
    """Where a run stands after a step."""

    step: int  # steps done
    stage: int  # index of the curriculum's stage
    accuracy: dict[str, float]  # running share of correct answers by kind, within the stage
    loss: float  # of the last batch
    videos: int  # clips seen so far
    seconds: float  # time spent in steps so far, over all the run's processes

    def mean(self) -> float:
        """The mean over the kinds asked about so far in this stage."""
        return sum(self.accuracy.values()) / max(1, len(self.accuracy))


class Trainer:
    """A model, its optimizers, and how far they are."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        device: str = "cpu",
        begin: Path | None = None,
        tell: Tell = warnings.warn,
    ) -> None:
        """Resumes the run in `folder`, or starts one: with what `begin` has learned, or anew.

        With what another one has learned the recipe is that of `Recipe.going_on`. `tell` gets a
        sentence where the run's last state is damaged.
        """
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        tokenizer = build_tokenizer()
        self.codec = Codec(tokenizer)
        self.video_processor = new_processor(tokenizer).video_processor
        torch.manual_seed(recipe.seed)
        self.model = new_model(tokenizer)
        kept = next((place for place in (folder, begin) if place and is_kept(place)), None)
        if begin and not kept:
            start_from(self.model, tokenizer, begin)
            self.recipe = recipe.going_on("checkpoint")
        speed_up(self.model)
        nn.Module.to(self.model, self.device)
        self.model.set_attn_implementation(ATTENTION)
        width = self.model.config.text_config.hidden_size
        self.auxiliary = AuxiliaryLosses(recipe, self.codec, width).to(self.device)
        self.muon, self.adam = optimizers(self.model, self.auxiliary, recipe)
        self.progress = Progress(0, 0, {}, 0.0, 0, 0.0)
        if kept == folder:
            take_up(folder, self._load, tell, self.device)
        elif kept:
            other = "begin with another run (--begin)"
            take_up(kept, self._begin_with, tell, self.device, other)

    def run(self, each: Callable[[Progress, Stage], None], save_every: float = 60.0) -> None:
        """All steps that are left.

        Args:
            save_every: seconds between two saves; the end is always saved.
        """
        saved = time.monotonic()
        with batch_makers(self.device) as (ahead, depth):
            upcoming: deque[Future[bytes]] = deque()
            stage_ahead = self.progress.stage
            while self.progress.step < self.recipe.steps:
                now = self.progress
                if now.stage != stage_ahead:
                    for future in upcoming:
                        future.cancel()
                    upcoming.clear()
                    stage_ahead = now.stage
                stage = self.recipe.stage(now.stage)
                last = min(now.step + depth, self.recipe.steps)
                for step in range(now.step + len(upcoming), last):
                    seed = [self.recipe.seed, step]
                    shape = stage.shape(np.random.default_rng(seed))
                    made = (seed, shape, self.codec, self.video_processor)
                    upcoming.append(ahead.submit(pickled_batch, *made))
                self.step(pickle.loads(upcoming.popleft().result()).to(self.device))
                each(now, stage)
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def step(self, batch: Batch) -> None:
        """One step on a batch."""
        begun = time.monotonic()
        rates = (self.recipe.rate, self.recipe.probe_rate)
        for optimizer in (self.muon, self.adam):
            # AdamW has the probes behind the model's own.
            for group, rate in zip(optimizer.param_groups, rates, strict=False):
                group["lr"] = group["initial_lr"] * rate(self.progress.step)
        self.model.requires_grad_(self.recipe.rate(self.progress.step) > 0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bfloat16(self.device)):
            inputs, prefix = embed(self.model, batch, self.codec)
            answers: list[tuple[str, float | None]] = []
            costs: list[Tensor] = []
            found = None if batch.vision_only else run_layers(self.model, batch, inputs, prefix)
            auxiliary = [self.auxiliary.seeing(inputs, prefix, batch)]
            auxiliary += self.auxiliary.inside(found, prefix, batch) if found else ()
            if found and len(found.logits):
                costs.append(loss_of(found.logits, batch))
                answers += [(k, float(ok)) for k, ok in exact_matches(found.logits.detach(), batch)]
            answers += [(name, told) for name, _, told in auxiliary]
            loss = torch.stack([*costs, *(cost for _, cost, _ in auxiliary)]).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.muon.step()
        self.adam.step()
        for optimizer in (self.muon, self.adam):
            optimizer.zero_grad(set_to_none=True)
        now = self.progress
        now.step += 1
        now.videos += len(batch.text)
        now.loss = float(loss.detach())
        now.seconds += time.monotonic() - begun
        self._judge(answers)

    def _judge(self, answers: list[tuple[str, float | None]]) -> None:
        """Brings the running accuracy up to date, and moves on where the stage is learned.

        Args:
            answers: (kind, share that is correct), None where there was nothing to tell.
        """
        now, stage = self.progress, self.recipe.curriculum[self.progress.stage]
        for kind in (*KINDS, *PROBES):
            right = [ok for k, ok in answers if k == kind and ok is not None]
            if right:
                before = now.accuracy.get(kind, sum(right) / len(right))
                now.accuracy[kind] = before + MEMORY * (sum(right) / len(right) - before)
        last = now.stage == len(self.recipe.curriculum) - 1
        learned = now.mean() >= stage.pass_mark
        if not last and (learned or now.step >= stage.latest * self.recipe.steps):
            now.stage += 1
            now.accuracy = {}

    def save(self) -> None:
        """Writes all that is needed to continue."""
        state = {
            "model": self.model.state_dict(),
            "auxiliary": self.auxiliary.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "progress": vars(self.progress),
            "begun": self.recipe.begun,
            "dropout": self.recipe.dropout,
        }
        keep(state, self.folder)

    def _load(self, state: State) -> None:
        if state["dropout"] != self.recipe.dropout:
            started = "--dropout" if state["dropout"] else "--no-dropout"
            raise ModelError(
                f"The run in {self.folder} was started with {started}: give that again, or another "
                "folder (--run)."
            )
        self.recipe = self.recipe.going_on(state["begun"])
        self._take(state)
        self.progress = Progress(**state["progress"])

    def _begin_with(self, state: State) -> None:
        """Takes all that another run has learned, its probes and moments included."""
        self._take(state)
        self.recipe = self.recipe.going_on("run")

    def _take(self, state: State) -> None:
        self.model.load_state_dict(state["model"])
        self.auxiliary.load_state_dict(state["auxiliary"])
        for optimizer, name in ((self.muon, "muon"), (self.adam, "adam")):
            base = [group["initial_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state[name])
            # The recipe's own rates hold, also where they changed since.
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["initial_lr"] = rate


@contextmanager
def batch_makers(device: torch.device) -> Iterator[tuple[Executor, int]]:
    """What makes batches ahead of the steps, and how many at a time.

    On a CPU one thread, for the model takes all cores; beside a GPU a process for each core.
    """
    if device.type == "cpu":
        with ThreadPoolExecutor(1) as thread:
            yield thread, 2
        return
    count, spawn = usable_cpus(), get_context("spawn")
    with ProcessPoolExecutor(count, spawn, torch.set_num_threads, (1,)) as processes:
        yield processes, 2 * count


def pickled_batch(seed: list[int], shape: Shape, codec: Codec, video_processor: Any) -> bytes:
    """The training batch of a seed, pickled: a pipe has room for any number, descriptors hasn't."""
    return pickle.dumps(make_batch(seed, shape, "train", codec, video_processor))


def optimizers(
    model: nn.Module, auxiliary: nn.Module, recipe: Recipe
) -> tuple[BatchedMuon, torch.optim.AdamW]:
    """Muon for the matrices of layers and projector, AdamW for the rest, and then the probes."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        inner = "layers" in name or "multi_modal_projector" in name
        (matrices if inner and weight.ndim == 2 else rest).append(weight)
    groups = [{"params": rest}, {"params": list(auxiliary.parameters())}]
    muon = BatchedMuon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay)
    adam = torch.optim.AdamW(groups, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return muon, adam


def log_line(progress: Progress, stage: Stage) -> str:
    """One line of JSON about a step, for the run's log."""
    line: dict[str, Any] = {
        **vars(progress),
        "stage": stage.name,
        "mean": round(progress.mean(), 4),
        "loss": round(progress.loss, 4),
        "seconds": round(progress.seconds, 1),
        "accuracy": {k: round(v, 3) for k, v in progress.accuracy.items()},
    }
    return json.dumps(line)
