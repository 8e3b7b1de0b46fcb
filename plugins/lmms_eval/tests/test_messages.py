"""Messages of tasks: what is understood, and what is refused in place of being left out."""

from __future__ import annotations

from typing import Any

import pytest

from dycoke_cli.errors import UsageError
from dycoke_lmms_eval.messages import Chat, Shown, read_chat

VIDEO: dict[str, Any] = {"type": "video", "url": "a.mp4"}
IMAGE: dict[str, Any] = {"type": "image", "url": "a.png"}
SOUND: dict[str, Any] = {"type": "audio", "url": "a.wav"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts]}


def assistant(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [text(words)]}


@pytest.mark.parametrize(
    ("messages", "chat"),
    [
        ([user(VIDEO, text("What?"))], Chat(Shown("a.mp4"), "What?")),
        ([user(text("What?"))], Chat(None, "What?")),
        ([{"role": "user", "content": "What?"}], Chat(None, "What?")),
        (
            [user(VIDEO, text("1?")), assistant("one"), user(text("2?")), assistant("two"),
             user(text("3?"))],
            Chat(Shown("a.mp4"), "3?", (("1?", "one"), ("2?", "two"))),
        ),
        (
            [user({**VIDEO, "start_time": 2.5, "end_time": None}, text("What?"))],
            Chat(Shown("a.mp4", 2.5), "What?"),
        ),
        # The second form of lmms-eval: `doc_to_visual` gives a dict, which becomes the URL.
        (
            [user({"type": "video", "url": {"type": "video", "url": "a.mp4", "video_start": 1,
                                            "video_end": 4}}, text("What?"))],
            Chat(Shown("a.mp4", 1, 4), "What?"),
        ),
    ],
)  # fmt: skip
def test_a_conversation(messages: list[dict[str, Any]], chat: Chat) -> None:
    assert read_chat(messages) == chat


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([user(IMAGE, text("?"))], "the task has an image"),
        ([user(VIDEO, SOUND, text("?"))], "the task has an audio"),
        ([user(VIDEO, VIDEO, text("?"))], "about one video are supported; the task has 2"),
        ([user(text("?"), VIDEO)], "the task has it behind a text"),
        ([user(VIDEO, text("1"), text("2"))], "the task has a text and a text"),
        ([user(VIDEO)], "the task has no text"),
        ([user(VIDEO, text("?")), assistant("!"), user(VIDEO, text("?"))],
         "the task has a video and a text"),
        ([{"role": "system", "content": [text("Be brief.")]}, user(VIDEO, text("?"))],
         "the task has system, user"),
        ([user(VIDEO, text("?")), assistant("!")], "the task has user, assistant"),
        ([], "the task has none"),
        ([user({"type": "video", "url": object()}, text("?"))], "the task has an object"),
    ],
)  # fmt: skip
def test_what_prompts_do_not_have_is_refused(messages: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_chat(messages)
    assert sentence in str(refused.value)
