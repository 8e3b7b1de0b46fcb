"""Encode once, ask many: a video with a model, and questions that are asked about it."""

from __future__ import annotations

from collections.abc import Callable

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.answer_stream import Receiver
from dycoke_cli.engine.ask_together import Question, ask_together
from dycoke_cli.engine.encoded_video import EncodedVideo
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.token_options import TokenOptions
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.models.prompts.chat_text import Turns


class VideoSession(EncodedVideo):
    """Answers questions about a video, one after the other."""

    def ask(
        self,
        question: str,
        method: Method,
        *,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        trace: int | None = None,
        typed: TypedOptions | OpenNumber | None = None,
        structured: StructuredOutput | None = None,
        tokens: TokenOptions | None = None,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: the compression method; it is settled for the model here.
            on_text: called with each stretch of the answer as it is generated.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            max_new_tokens: and the others: fields of `GenerationOptions`.

        Raises:
            UsageError: a combination that isn't supported, or a prompt longer than the model's
                context (with the number of frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        options = GenerationOptions(
            max_new_tokens, temperature, seed, trace, typed, structured, tokens
        )
        questions = [Question(self, question, history, Receiver(on_text))]
        return ask_together(questions, method, options)[0]
