"""`dycoke ask`: questions about a video, answered."""

from __future__ import annotations

import contextlib
from typing import Any

from dycoke_cli.cli import flags, options, output, questions
from dycoke_cli.cli.conversation import Conversation, converse
from dycoke_cli.cli.presenter import AsJson, AsText
from dycoke_cli.cli.spread import spread
from dycoke_cli.errors import UsageError
from dycoke_cli.result import SCHEMA

BUNDLED_NOTE = (
    "The bundled model answers, and it knows only its own world of moving shapes. "
    "For a real one: `dycoke models default llava-onevision-0.5b`, or --model."
)


@spread
def ask(
    video: options.VideoArgument,
    frames: flags.Frames,
    model: flags.Model,
    placing: flags.Placing,
    method: flags.Method,
    answer: flags.Answer,
    question: options.QuestionArgument = None,
    more: options.Questions = None,
    random_weights: options.RandomWeights = False,
    cache: options.Cache = False,
    compare: options.Compare = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer questions about a video.

    The answer goes to stdout as it comes; progress, figures and warnings go to stderr.
    """
    # What a program that reads stdout still waits for; the questions follow when they are known.
    waiting: list[dict[str, Any]] = [{"video": video, "question": question}]
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, waiting))
        if compare and method.method == "none":
            raise UsageError("--compare compares with --method none; choose another method")
        chosen = flags.chosen(model, placing, frames, answer, method, random_weights=random_weights)
        asked = questions.collect(question, more, video)
        waiting[:] = [{"video": video, "question": text} for text in asked]
        note = BUNDLED_NOTE if chosen.model is None and not quiet else None
        presenter = stack.enter_context(
            AsJson(waiting, quiet, note) if as_json else AsText(len(asked), quiet, note)
        )
        # From here on torch is imported, which takes seconds.
        presenter.progress("start", 0, 0)
        conversation = Conversation(video, asked, chosen, compare=compare, cache=cache)
        converse(conversation, presenter)
