"""The part of a reply that is its answer: its thinking and the tags around the answer cut off."""

from __future__ import annotations

import re

_NAMES = r"(?:seed:)?(?:think(?:ing)?|thought|reasoning|reflection|analysis|scratchpad)"
_OPEN = rf"(?:<{_NAMES}>|◁{_NAMES}▷|\[{_NAMES}\])"
_CLOSE = rf"(?:</{_NAMES}>|◁/{_NAMES}▷|\[/{_NAMES}\])"
_FLAGS = re.IGNORECASE | re.DOTALL
_THOUGHT = re.compile(rf"{_OPEN}.*?{_CLOSE}", _FLAGS)
# The template of some models opens the block, so that only its end is generated.
_LATE_END = re.compile(rf".*{_CLOSE}", _FLAGS)
# Cut off by the limit of new tokens before it came to an answer.
_UNFINISHED = re.compile(rf"{_OPEN}.*", _FLAGS)
_ANSWER = re.compile(
    r"<answer>(.*?)(?:</answer>|\Z)|<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|\Z)", _FLAGS
)


def answer_of(said: str) -> str:
    """What a reply answers: the text in its last `<answer>`, or else all but its thinking.

    Args:
        said: the reply, with thinking in tags such as `<think>`, closed or not, or without any.
    """
    text = _UNFINISHED.sub("", _LATE_END.sub("", _THOUGHT.sub("", said)))
    answers = [closed or boxed for closed, boxed in _ANSWER.findall(text)]
    return (answers[-1] if answers else text).strip()
