"""Encode once, ask many: a video with a model, and questions that are asked about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import LogitsProcessor

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.answer_stream import Receiver
from dycoke_cli.engine.ask_together import Question, ask_together
from dycoke_cli.engine.encoded_video import EncodedVideo
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.prompts.chat_text import Turns


class VideoSession(EncodedVideo):
    """Answers questions about a video, one after the other."""

    def ask(
        self,
        question: str,
        method: Method | BoundMethod,
        *,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        observer: LogitsProcessor | None = None,
        **generation: Any,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: the compression method; it is bound to the model here unless it is already.
            on_text: called with each stretch of the answer as it is generated.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            observer: sees the logits of each step (`observing`), or None.
            generation: fields of `GenerationOptions`, such as `max_new_tokens=64`.

        Raises:
            UsageError: a combination that isn't supported, or a prompt longer than the model's
                context (with the number of frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        options = GenerationOptions(**generation)
        questions = [Question(self, question, history, Receiver(on_text))]
        observers = [] if observer is None else [observer]
        return ask_together(questions, method, options, observers)[0]
