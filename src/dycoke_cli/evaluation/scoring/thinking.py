"""The part of a reply that is its answer: its thinking and the tags around the answer cut off."""

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
    """What a reply answers: the text in its last `<answer>`, or else all but its thinking.

    Args:
        said: the reply, with thinking in tags such as `<think>`, closed or not, or without any.
    """
    text = _after_thinking(_without_thoughts(said))
    answers = [closed or boxed for closed, boxed in _ANSWER.findall(text)]
    return (answers[-1] if answers else text).strip()


def _without_thoughts(said: str) -> str:
    """A reply without its blocks of thinking: each from where it opens to the next end."""
    kept, begin, opened = [], 0, None
    for tag in _TAG.finditer(said):
        if tag["open"]:
            opened = tag.start() if opened is None else opened
        elif opened is not None:
            kept.append(said[begin:opened])
            begin, opened = tag.end(), None
    return "".join([*kept, said[begin:]])


def _after_thinking(text: str) -> str:
    """What is behind the last end, for the template of some models opens the block; and before one
    that was cut off by the limit of new tokens before it came to an answer."""
    ends = [tag.end() for tag in _TAG.finditer(text) if not tag["open"]]
    text = text[ends[-1] :] if ends else text
    unfinished = next((tag for tag in _TAG.finditer(text) if tag["open"]), None)
    return text if unfinished is None else text[: unfinished.start()]
