"""Extraction of the answer from a reply with reasoning and answer tags."""

from __future__ import annotations

import re

_NAMES = r"(?:seed:)?(?:think(?:ing)?|thought|reasoning|reflection|analysis|scratchpad)"
_OPEN = rf"(?:<{_NAMES}>|◁{_NAMES}▷|\[{_NAMES}\])"
_CLOSE = rf"(?:</{_NAMES}>|◁/{_NAMES}▷|\[/{_NAMES}\])"
_FLAGS = re.IGNORECASE | re.DOTALL
_TAG = re.compile(rf"(?P<open>{_OPEN})|{_CLOSE}", _FLAGS)
_ANSWER = re.compile(
    r"<answer>(.*?)(?:</answer>|\Z)|<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|\Z)", _FLAGS
)


def answer_of(said: str) -> str:
    """Answer of a reply: the text in its last `<answer>`, otherwise all but the reasoning.

    Args:
        said: the reply; its reasoning may be in tags such as `<think>`, closed or not.
    """
    text = _after_thinking(_without_thoughts(said))
    answers = [closed or boxed for closed, boxed in _ANSWER.findall(text)]
    return (answers[-1] if answers else text).strip()


def _without_thoughts(said: str) -> str:
    """Remove reasoning blocks, each from an opening tag to the next closing tag."""
    kept, begin, opened = [], 0, None
    for tag in _TAG.finditer(said):
        if tag["open"]:
            opened = tag.start() if opened is None else opened
        elif opened is not None:
            kept.append(said[begin:opened])
            begin, opened = tag.end(), None
    return "".join([*kept, said[begin:]])


def _after_thinking(text: str) -> str:
    """Text after the last closing tag and before an unclosed block.

    Some chat templates contain the opening tag, so that the reply has a closing tag only. A block
    is unclosed if the limit of new tokens was reached within it.
    """
    ends = [tag.end() for tag in _TAG.finditer(text) if not tag["open"]]
    text = text[ends[-1] :] if ends else text
    unfinished = next((tag for tag in _TAG.finditer(text) if tag["open"]), None)
    return text if unfinished is None else text[: unfinished.start()]
