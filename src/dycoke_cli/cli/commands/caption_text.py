"""Text of a caption, made of a model's answer: what is around it is stripped, and words are added.

The rules are for English. Each is tried at the beginning (`_LEADS`, `_SUBJECTS`) or at the end
(`_OFFERS`) of the answer, and none empties it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.ask import Ask, Failed, Footage
from dycoke_cli.errors import ModelError
from dycoke_cli.evaluation.scoring.thinking import answer_of
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.video.file_names import is_picture

if TYPE_CHECKING:
    from dycoke_cli.loop.plan import Plan
    from dycoke_cli.runs.listener import Listener
    from dycoke_cli.runs.run import Backend, Group

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

_JOINERS = "\u200c\u200d"  # of Persian letters and of emoji; the others are invisible and unwanted
_THING = r"(?:video|clip|footage|film|scene|animation|gif|image|picture|photo(?:graph)?|frames?)"
_OF = rf"(?:short |brief )?(?:{_THING} )?{_THING}"
_LEADS = (
    r"(?:sure|certainly|of course|absolutely|okay|ok)\b(?: thing)?[!,.:]\s*",
    r"here(?:'s|’s| is| are)\b[^.:\n]{0,80}:\s*",
    rf"(?:{_THING} )?(?:caption|description|summary|answer|tags|title)\s*:\s*",
)
_VERBS = (
    r"(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|showcases?|illustrates?"
    r"|is (?:a shot )?(?:of|about))"
)
_SUBJECTS = (
    rf"(?:in|throughout) (?:the|this) {_OF},?\s+(?:(?:we|you|one)(?: can)? see\s+)?",
    rf"(?:the|this) {_OF} {_VERBS}(?: us)?(?: that)?\s+",
    r"(?:we|you)(?: can)? see\s+",
)
_OFFERS = (
    r"\s*\b(?:let me know|feel free to|i hope (?:this|that)|would you like|is there anything)\b"
    r"[^.!?\n]*[.!?]?\s*\Z"
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "『": "』"}
_MARKERS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|\d{1,2}[.)][ \t]+)+", re.M)
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]+")
_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[^\n]*$\n?|^[ \t]*(?:[-*_][ \t]*){3,}$\n?", re.M)
_INLINE = (
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),
    (re.compile(r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_(?=[^\s_])([^_\n]+?)(?<=\S)_(?!\w)"), r"\1"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
)
_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|\Z)|[。！？][」』”’]*")


@dataclass(frozen=True)
class CaptionStyle:
    """How a caption is made of an answer."""

    trigger: str = ""  # put in front with a comma, unless the text begins with it
    prefix: str = ""  # put in front as it is, behind the trigger
    suffix: str = ""  # put at the end as it is
    max_words: int | None = None  # of the model's text; it ends with a sentence, if one is whole
    multiline: bool = False  # whether line ends are kept
    raw: bool = False  # whether what is around the caption is kept

    @property
    def identity(self) -> str:
        """Equal for styles that make the same captions."""
        return json.dumps(asdict(self), sort_keys=True)

    def caption(self, said: str, *, is_cut: bool = False) -> str:
        """The caption of an answer; empty if nothing is left of it.

        Args:
            is_cut: whether the answer ends at the limit of its tokens.
        """
        text = said if self.raw else _stripped(said)
        text = _printable(text, self.multiline)
        if is_cut and not self.raw:
            text = _whole_sentences(text) or text
        if self.max_words is not None:
            text = _limited(text, self.max_words)
        if not text:
            return ""
        text = f"{self.prefix}{text}{self.suffix}"
        trigger = re.escape(self.trigger)
        if self.trigger and not re.match(rf"{trigger}(?!\w)", text, re.IGNORECASE):
            text = f"{self.trigger}, {text}"
        return text


@dataclass(frozen=True)
class Captioned:
    """A backend whose answers are captions; an answer that is none is a failure."""

    backend: Backend
    style: CaptionStyle
    asks: dict[str, Ask]  # by the id of the question

    def __call__(
        self, groups: Iterable[Group], plan: Plan, listener: Listener
    ) -> Iterator[Outcome]:
        """Answer all questions; see `runs.run.Backend`."""
        for outcome in self.backend(groups, plan, listener):
            yield outcome if outcome.failed else self._captioned(outcome)

    def _captioned(self, outcome: Outcome) -> Outcome:
        line = outcome.line
        if outcome.refused:
            return self._failed(
                outcome,
                'the bundled model only knows moving shapes: --prompt "What happens?", or another '
                "--model",
            )
        is_cut = line["finish_reason"] == "length"
        caption = self.style.caption(line["answer"], is_cut=is_cut)
        if not caption:
            return self._failed(outcome, "the answer is empty; --raw keeps all that the model says")
        return replace(outcome, line={**line, "answer": caption})

    def _failed(self, outcome: Outcome, why: str) -> Outcome:
        ask = replace(self.asks[outcome.line["id"]], key=outcome.key)
        return Outcome.of(ask, Failed(ModelError(why)))


def question_about(video: Footage, prompt: str) -> str:
    """The question of a prompt: of a preset, or a text of the user's."""
    if (preset := PROMPTS.get(prompt)) is None:
        return prompt.strip()
    return preset.replace("this video", "this picture") if is_picture(video.path) else preset


def _stripped(said: str) -> str:
    """The text without thinking, Markdown, quotes, and what is said around a caption."""
    text = _FENCE.sub("", answer_of(said))
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and all(_ITEM.match(line) and line.count(" ") < 6 for line in lines):
        text = ", ".join(_ITEM.sub("", line).strip().rstrip(".,;") for line in lines)
    text = _MARKERS.sub("", text)
    for pattern, inner in _INLINE:
        text = pattern.sub(inner, text)
    return _repeated(text.strip(), _once_stripped)


def _once_stripped(text: str) -> str:
    for pattern in _LEADS:
        text = _without(text, rf"\A{pattern}")
    for first, last in _QUOTES.items():
        inner = text[1:-1]
        if len(text) > 2 and text[0] == first and text[-1] == last and first not in inner:
            text = inner.strip()
    for pattern in _SUBJECTS:
        text = _without(text, rf"\A{pattern}", begins=True)
    return _without(text, _OFFERS)


def _repeated(text: str, change: Callable[[str], str]) -> str:
    """The text after a change that shortens it, until nothing changes."""
    while (changed := change(text)) != text:
        text = changed
    return text


def _without(text: str, pattern: str, *, begins: bool = False) -> str:
    """The text without a match, unless nothing would be left."""
    rest = re.sub(pattern, "", text, count=1, flags=re.IGNORECASE).strip()
    if not rest or rest == text:
        return text
    return rest[0].upper() + rest[1:] if begins else rest


def _printable(text: str, multiline: bool) -> str:
    """The text without control characters, and with single spaces."""
    lines = text.splitlines() if multiline else [text]
    clean = (" ".join(line.split()) for line in lines)
    kept = ("".join(c for c in line if c.isprintable() or c in _JOINERS) for line in clean)
    return "\n".join(kept).strip()


def _whole_sentences(text: str) -> str:
    """The sentences that have an end; empty if none has."""
    ends = [match.end() for match in _END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _limited(text: str, words: int) -> str:
    """So many words at most, and whole sentences if one is whole."""
    found = [*re.finditer(r"\S+", text)]
    if len(found) <= words:
        return text
    short = text[: found[words - 1].end()]
    return _whole_sentences(short) or short.rstrip(",;: ")
