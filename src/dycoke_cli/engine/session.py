"""Encode once, ask many: a video with a model, and the answers to questions about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.answer import Answer
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.engine.generation import Generated, generate
from dycoke_cli.engine.inject import encoded
from dycoke_cli.engine.memory import PeakMemory
from dycoke_cli.engine.report import make_answer
from dycoke_cli.engine.stopwatch import Stopwatch
from dycoke_cli.engine.trace import check_traceable, text_pieces
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.models.layouts import Layout
from dycoke_cli.models.loading import LoadedModel
from dycoke_cli.models.prompt import Turns, make_prompt

Progress = Callable[[str, int, int], None]


class Frames(Protocol):
    """What a session needs of a video; `dycoke_cli.video.Clip` has it."""

    @property
    def frames(self) -> np.ndarray:
        """`[F, H, W, 3]`, uint8, RGB."""

    @property
    def timestamps_s(self) -> tuple[float, ...]:
        """True time of each frame, seconds."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for a person."""


class VideoSession:
    """Questions about one video. The video is encoded at the first question, once.

    Args:
        loaded: the model.
        clip: the frames.
        on_progress: called with (stage, done, total); stages are "vision" (frames), "prefill"
            and "decode" (tokens).
        seconds_load: how long the model took to load, for the report.
        seconds_video_decode: how long the frames took to decode; part of the first answer's time.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        clip: Frames,
        on_progress: Progress | None = None,
        *,
        seconds_load: float | None = None,
        seconds_video_decode: float = 0.0,
    ) -> None:
        self.loaded = loaded
        self.clip = clip
        self.seconds_load = loaded.seconds_load if seconds_load is None else seconds_load
        self._seconds_video_decode = seconds_video_decode
        self._progress = on_progress or (lambda stage, done, total: None)
        self._prompt = make_prompt(loaded.processor, clip.frames)
        self._features: torch.Tensor | None = None

    def ask(
        self,
        question: str,
        method: Method,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        trace: bool = False,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: what to leave out.
            max_new_tokens: at most this many tokens are written.
            temperature: 0 is greedy; above, tokens are drawn.
            seed: of the draw; None takes a fresh one, which is reported.
            on_text: called with each stretch of the answer as it is written.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            trace: take down what each decoding step looked at, for `Answer.trace`.

        Raises:
            UsageError: a combination that isn't supported (a trace of a method without decode
                pruning, too), or a prompt longer than the model's context (with the number of
                frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        if trace:
            check_traceable(method)
        watch = Stopwatch(self.loaded.model.device)
        peak = PeakMemory(self.loaded.model.device, self.loaded.weights_bytes)
        input_ids = self._prompt.input_ids(question, history)
        layout = self.loaded.family.layout(self.loaded.model.config, input_ids[0])
        assert layout is not None
        self._check_fits(layout, input_ids.shape[1], method, max_new_tokens)
        try:
            video_decode, vision = self._encode(watch)
            generated = self._generate(
                input_ids, method, watch, max_new_tokens, temperature, seed, on_text, trace
            )
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                "the accelerator's memory ran out; lower --frames, raise --merge-ratio, or use a "
                "smaller model"
            ) from error
        return make_answer(
            question,
            self.loaded,
            method,
            self.clip,
            generated,
            layout,
            prompt_tokens=input_ids.shape[1],
            seconds={"load": self.seconds_load, "video_decode": video_decode, "vision": vision},
            total=watch.read(),
            peak=peak.read(),
        )

    def _encode(self, watch: Stopwatch) -> tuple[float, float]:
        """Encode the video unless that is done; return seconds (of decoding, of vision)."""
        if self._features is not None:
            return 0.0, 0.0
        started = watch.read()
        self._features = encode_video(
            self.loaded.model,
            self.loaded.family,
            self._prompt.inputs,
            lambda done, total: self._progress("vision", done, total),
        )
        return self._seconds_video_decode, watch.read() - started

    def _generate(
        self,
        input_ids: torch.Tensor,
        method: Method,
        watch: Stopwatch,
        max_new_tokens: int,
        temperature: float,
        seed: int | None,
        on_text: Callable[[str], None] | None,
        trace: bool,
    ) -> Generated:
        model, tokenizer = self.loaded.model, self.loaded.processor.tokenizer
        input_ids = input_ids.to(model.device)
        self._progress("prefill", 0, 1)
        attached: Any = nullcontext()
        if method.name != "none":
            attached = attach(model, method, trace=trace)
        assert self._features is not None
        video = input_ids == self.loaded.family.placeholder(model.config)
        with encoded(model, [self._features], video), attached as attachment:
            generated = generate(
                model,
                tokenizer,
                input_ids,
                watch,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                on_text=on_text,
                on_token=lambda tokens: self._progress("decode", tokens, max_new_tokens),
            )
        if attachment is not None:
            generated.stats = attachment.stats[0]
        if trace:
            pieces = text_pieces(tokenizer, generated.tokens.tolist())
            generated.trace = attachment.recorder.trace(pieces)
        return generated

    def _check_fits(self, layout: Layout, prompt: int, method: Method, max_new_tokens: int) -> None:
        context = self.loaded.context_length
        room = context - max_new_tokens - (prompt - len(layout.index))

        def length(frames: int) -> int:
            whole = frames * layout.tokens_per_frame
            # Positions that are kept run on over the gaps, up to the uncompressed length.
            if not method.renumbers():
                return whole
            return method.kept_tokens(frames, layout.tokens_per_frame)

        if length(layout.frames) <= room:
            return
        fits = next((f for f in range(layout.frames - 1, 0, -1) if length(f) <= room), 0)
        advice = (
            f"use --frames {fits} or fewer"
            if fits
            else f"lower --max-new-tokens ({max_new_tokens}) or shorten the question"
        )
        raise UsageError(
            f"{layout.frames} frames make a prompt longer than the model's context of {context} "
            f"tokens; {advice}"
        )
