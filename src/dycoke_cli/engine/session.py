"""Encode once, ask many: a video with a model, and the answers to questions about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.answer import Answer
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.encode import Encoded, encode_video
from dycoke_cli.engine.generation import Generated, generate
from dycoke_cli.engine.inject import encoded
from dycoke_cli.engine.memory import PeakMemory
from dycoke_cli.engine.report import make_answer
from dycoke_cli.engine.stopwatch import Stopwatch
from dycoke_cli.engine.trace import check_traceable, text_pieces
from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.models.loading import LoadedModel
from dycoke_cli.models.prompt import Frames, Turns, make_prompt

Progress = Callable[[str, int, int], None]


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
        self._prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
        self._encoded: Encoded | None = None

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
        self._check_fits(input_ids.shape[1], method, max_new_tokens)
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
            self._prompt.visual,
            prompt_tokens=input_ids.shape[1],
            seconds={"load": self.seconds_load, "video_decode": video_decode, "vision": vision},
            total=watch.read(),
            peak=peak.read(),
        )

    def _encode(self, watch: Stopwatch) -> tuple[float, float]:
        """Encode the video unless that is done; return seconds (of decoding, of vision)."""
        if self._encoded is not None:
            return 0.0, 0.0
        started = watch.read()
        self._encoded = encode_video(
            self.loaded.model,
            self.loaded.family,
            self._prompt,
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
        assert self._encoded is not None
        family = self.loaded.family
        beside = self._prompt.beside(input_ids, family.rope)
        placeholders = family.placeholders(model.config, input_ids, beside)
        with encoded(model, [self._encoded], placeholders), attached as attachment:
            generated = generate(
                model,
                tokenizer,
                input_ids,
                beside,
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

    def _check_fits(self, length: int, method: Method, max_new_tokens: int) -> None:
        context, prompt = self.loaded.context_length, self._prompt
        room = context - max_new_tokens - (length - prompt.visual)

        def visual(frames: int) -> int:
            # Positions that count tokens and are kept run on over the gaps, up to the uncompressed
            # length.
            if self.loaded.family.counts_tokens and not method.renumbers():
                return frames * prompt.tokens_per_frame
            return method.kept_tokens(frames, prompt.tokens_per_frame)

        if visual(prompt.frames) <= room:
            return
        fits = next((f for f in range(prompt.frames - 1, 0, -1) if visual(f) <= room), 0)
        fits = fits * len(self.clip.timestamps_s) // prompt.frames
        advice = (
            f"use --frames {fits} or fewer"
            if fits
            else f"lower --max-new-tokens ({max_new_tokens}) or shorten the question"
        )
        raise UsageError(
            f"{len(self.clip.timestamps_s)} frames make a prompt longer than the model's context "
            f"of {context} tokens; {advice}"
        )
