"""Turns of a conversation as a text: the stock chat template's, checked for special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.chat_template import render, variables_of
from dycoke_cli.models.prompts.tool_calls import messages_of, tools_of, tools_text

Turns = Sequence[tuple[str, str]]
"""Pairs of question and answer, oldest first; each may be a `ToolTurn`."""


def chat_text(
    processor: Any,
    question: str,
    history: Turns = (),
    *,
    videos: int = 1,
    subtitles: str = "",
) -> str:
    """Conversation rendered by the stock chat template."""
    conversation = conversation_of(question, history, videos, subtitles)
    variables = variables_of(question)
    return render(processor, conversation, tools=tools_of(question), variables=variables)


def conversation_of(
    question: str, history: Turns, videos: int, subtitles: str
) -> list[dict[str, Any]]:
    """Messages for `apply_chat_template`: history and question.

    The first turn contains the videos, then the subtitles, then its question.
    """
    conversation: list[dict[str, Any]] = []
    for earlier, answer in history:
        conversation += [*messages_of("user", earlier), *messages_of("assistant", answer)]
    conversation += messages_of("user", question)
    # Video and subtitles in the first turn are a common prefix of all prompts of a chat, which the
    # prefix cache reuses.
    conversation[0]["content"][0]["text"] = subtitles + conversation[0]["content"][0]["text"]
    conversation[0]["content"][:0] = [{"type": "video"}] * videos
    return conversation


def check_plain(processor: Any, question: str, history: Turns, subtitles: str = "") -> None:
    """Check that no text contains a special token of the model.

    The tokenizer would encode it as that token, so a text could end its turn or add a placeholder.
    """
    turns = [text for turn in history for text in turn]
    texts = [subtitles, question, *turns, tools_text(question)]
    # Some processors replace the text of these tokens, although the tokenizer doesn't list them as
    # special.
    own = [getattr(processor, name, None) for name in ("video_token", "image_token")]
    own = [None if token is None else str(token) for token in own]
    special = next(
        (
            token
            for token in (*processor.tokenizer.all_special_tokens, *filter(None, own))
            if any(token in text for text in texts)
        ),
        None,
    )
    if special is not None and special in subtitles:
        raise UsageError(
            f"the subtitles contain {special!r}, which has a meaning of its own to the model; "
            "take it out of them, or leave out --subtitles"
        )
    if special is not None:
        raise UsageError(
            f"the question contains {special!r}, which has a meaning of its own to the model; "
            "leave it out"
        )


def text_ids(processor: Any, question: str, history: Turns = ()) -> torch.Tensor:
    """Token ids `[1, S]`, int64, of a prompt without a video.

    Args:
        processor: of the model.
        question: plain text.
        history: earlier questions, with their answers.

    Raises:
        UsageError: a text contains a special token of the model.
    """
    check_plain(processor, question, history)
    chat = chat_text(processor, question, history, videos=0)
    return processor(text=[chat], return_tensors="pt")["input_ids"]
