"""Prompts of captions, and what makes captions of answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dycoke_cli.answer.caption import CaptionStyle
from dycoke_cli.ask import Ask, Failed, Footage
from dycoke_cli.errors import DycokeError, UsageError, closest
from dycoke_cli.models.load_options import UNKNOWN
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.video.files import is_picture

_SHOWN = 60  # characters of what is said in place of a caption
PROMPTS = {
    "short": "Describe this video in one sentence. Begin with the subject.",
    "detailed": (
        "Describe this video in one paragraph: the subjects and what they look like, what they do, "
        "the place, the light and the camera. Only what can be seen. Don't begin with “The video”."
    ),
    "motion": (
        "Describe only what moves in this video, in the order in which it happens, and how the "
        "camera moves. One or two sentences."
    ),
    "tags": (
        "List ten tags for this video, separated by commas: subjects, actions, place, style. Only "
        "the tags."
    ),
}
"""Presets of `--prompt`."""

SHAPES_ONLY = (
    'the bundled model only knows moving shapes: --prompt "What happens?", or another --model'
)


class CaptionError(DycokeError):
    """The answer of a model is no caption."""

    code = "no_caption"


@dataclass(frozen=True)
class Captioned:
    """Makes captions of the answers of a run; an answer that is none is a failure."""

    style: CaptionStyle
    asks: dict[str, Ask]  # by the id of the question

    def __call__(self, outcome: Outcome) -> Outcome:
        """The line of a caption, from that of an answer."""
        if outcome.failed:
            return outcome
        line = outcome.line
        if line["answer"] == UNKNOWN:
            return self._failed(outcome, f"{line['answer']!r} says the bundled model: add --model")
        text, is_cut = self.style.caption(line["answer"], is_cut=line["finish_reason"] == "length")
        if not text:
            said = f"{line['answer'][:_SHOWN]!r} is no caption; --raw keeps all that the model says"
            return self._failed(outcome, said)
        ended = {"answer": text, "finish_reason": "length" if is_cut else "stop"}
        return replace(outcome, line={**line, **ended})

    def _failed(self, outcome: Outcome, why: str) -> Outcome:
        ask = replace(self.asks[outcome.line["id"]], key=outcome.key)
        return Outcome.of(ask, Failed(CaptionError(why)))


def check_prompt(prompt: str) -> None:
    """Check that a prompt isn't a misspelt preset, and has a text."""
    if prompt not in PROMPTS and (near := closest(prompt, PROMPTS)):
        raise UsageError(f"--prompt {prompt}: did you mean {near}?")
    if not prompt.strip():
        raise UsageError(f"--prompt is empty: name one of {', '.join(PROMPTS)}, or write a text")


def question_about(video: Footage, prompt: str) -> str:
    """The question of a prompt: of a preset, or a text of the user's."""
    if (preset := PROMPTS.get(prompt)) is None:
        return prompt.strip()
    return preset.replace("this video", "this picture") if is_picture(video.path) else preset
