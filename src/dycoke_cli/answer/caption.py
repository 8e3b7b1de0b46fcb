"""Text of a caption, made of a model's answer: what is around it is stripped, and words are added.

The rules are for the languages in which the models of the catalog answer. Each is tried at the
beginning or at the end of the answer, and none empties it; an answer that refuses is no caption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any

from dycoke_cli.answer.thinking import answer_of

_JOINERS = "\u200c\u200d"  # of Persian letters and of emoji; the others are invisible and unwanted
# What models call a video, and what they say in front of what it shows.
_FILM = r"(?:video|vídeo|vidéo|clip|footage|film|animation|gif|recording|видео)"
_THING = rf"(?:{_FILM}|scene|image|imagen|picture|photo(?:graph)?|frame|series|sequence|bild)s?"
_NAMED = (
    rf"(?:(?:short|brief|provided|given|following|entire) )*{_THING}(?: (?:of )?{_THING})*"
    r"(?: (?:you(?:['’]ve)? )?(?:provided|shared|uploaded))?"
)
_THE = r"(?:the|this|these|das|dieses|la|cette|el|este|o|il|questo|это)"
_SEE = (
    r"(?:(?:we|you|one|i)(?: can| could)? (?:see|observe)|sieht man|on (?:peut )?voi[rt]|se ve"
    r"|vemos|si vede|видно)"
)
_SHOWS = (
    r"(?:(?:appears?|seems?) to )?(?:(?:show|depict|feature|capture|display|present|portray)s?"
    r"|showcases?|illustrates?|takes? place|(?:begin|start|open)s?(?: (?:with|by|on|in|showing))+"
    r"|(?:is|are) (?:a shot )?(?:of|about)|zeigt|montre|présente|muestra|mostra|показывает"
    r"|(?:beginnt|commence|comienza|empieza|começa|inizia) (?:mit|par|con|com))(?: us)?(?: that)?"
)
_TITLE = (
    r"(?:caption|description|summary|answer|tags|title|beschreibung|légende|descripción|descrição"
    r"|descrizione|описание|描述|标题|標題|字幕|说明|説明|설명)"
)
_LEADS = (
    r"(?:assistant|model)\s*[:\n]\s*",
    r"(?:sure|certainly|of course|absolutely|okay|ok|natürlich|bien sûr|claro|certo|当然|好的)"
    r"(?: thing)?[!,.:！，。]\s*",
    r"(?:(?:here(?:['’]s| is| are)|hier ist|voici|aquí|ecco)\b|以下是|这是)[^.:：\n]{0,80}[:：]\s*",
    rf"(?:{_THING} )?{_TITLE}(?: ?\([^)\n]*\))?\s*[:：]\s*",
)
_SUBJECTS = (
    rf"(?:in|throughout|based on|from|im|dans|en|no|nel|на) (?:{_THE} |diesem )?{_NAMED}"
    rf"(?:,\s+|\s+(?=(?:an?|the)\b|{_SEE}))",
    rf"{_THE} {_NAMED} {_SHOWS}\s+",
    rf"(?:(?:this|it) is (?:an?|the) {_NAMED}|an? (?:short )?{_FILM}) (?:of|showing|featuring)\s+",
    rf"{_SEE}\s+",
    r"[在这這该該本此个個段]*(?:视频|視頻|影片|画面|图片)[中里裡]?"
    r"(?:[，,]?(?:主要)?(?:展示|显示|描绘|呈现|拍摄|记录)[了着]?|(?<=[中里裡])(?:[，,]|可以看到))"
    r"|この(?:動画|映像|画像)では、?",
)
_OFFERS = re.compile(
    r"let me know|feel free to|i hope (?:this|that)|would you like|is there anything"
    r"|if you (?:need|want|have|would)\b|i (?:cannot|can['’]t|am unable to|don['’]t) (?:see|tell)",
    re.IGNORECASE,
)
_REFUSALS = re.compile(
    r"(?:i['’]m|i am|we['’]re) (?:(?:really|very|so) )?(?:sorry|afraid|(?:un|not )able)|sorry,"
    r"|(?:as|i['’]m|i am) an? (?:ai|artificial|(?:large )?language)\b|unfortunately, i "
    r"|i (?:can(?:no|['’])t|could ?n[o'’]t|do ?n[o'’]t|won['’]t) |please (?:provide|upload|share) "
    r"|(?:es )?tut mir|(?:leider kann ich|ich kann (?:leider|kein|nicht))|als (?:ki|sprachmodell)\b"
    r"|(?:je suis )?désolée?\b|je ne (?:peux|suis) pas|en tant qu['’]|lo siento|no puedo "
    r"|desculpe|não (?:posso|consigo)|mi dispiace|non posso|извините|к сожалению, я|я не могу"
    r"|(?:很|非常)?抱歉|对不起|作为(?:一个|一名)?(?:ai|人工|语言)|我(?:无法|不能|看不到)|申し訳|죄송",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"<\|[^|<>\n]*\|>|</?s>")  # such as <|im_end|>, from a server
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
# An abbreviation of any of these ends no sentence; the languages of others have the stops of one.
_LANGUAGES = ("en", "de", "es", "fr")
_LIST = re.compile(r"[^,.!?。！？\n]{1,40}(?:,[^,.!?。！？\n]{1,40}){2,}")


@dataclass(frozen=True)
class CaptionStyle:
    """How a caption is made of an answer."""

    trigger: str = ""  # put in front with a comma, unless the text begins with it
    max_words: int | None = None  # with the trigger; it ends with a sentence, if one is whole
    raw: bool = False  # whether what is around the caption is kept

    @property
    def identity(self) -> str:
        """Equal for styles that make the same captions."""
        return json.dumps(asdict(self), sort_keys=True)

    def caption(self, said: str, *, is_cut: bool = False) -> tuple[str, bool]:
        """The caption of an answer, and whether it ends within a sentence.

        It is empty if the answer refuses, or nothing is left of it.

        Args:
            is_cut: whether the answer ends at the limit of its tokens.
        """
        text = _printable(said if self.raw else _stripped(said))
        whole = _whole_sentences(text) if is_cut else text
        text = text if self.raw else whole or text
        is_cut = text != whole
        trigger = self.trigger.strip(", ")
        begins = trigger and re.match(rf"{re.escape(trigger)}(?!\w)", text, re.IGNORECASE)
        front = f"{trigger}, " if trigger and text and not begins else ""
        if self.max_words is not None:
            most = self.max_words - len(words(front))
            if len(found := words(text)) > most:
                ends = [*accumulate(map(len, sentences(text)))]
                fitting = [end for end in ends if end <= found[most].start()]
                is_cut = not fitting
                text = text[: fitting[-1] if fitting else found[most - 1].end()].rstrip(",;: \n")
        return front + text, is_cut


def sentences(text: str) -> list[str]:
    """The sentences of a text, or the items of a list such as "dog, grass, running".

    Joined they are the text: white space and commas between two belong to the first.
    """
    if _LIST.fullmatch(text.strip()):
        ends = {match.end() for match in re.finditer(r",\s*", text)}
    else:
        from sentencex import segment  # late: few answers are captions

        whole = re.sub("[\ud800-\udfff]", "\ufffd", text)  # halves of characters, from a server
        by_language = (set(accumulate(map(len, segment(one, whole)))) for one in _LANGUAGES)
        ends = set.intersection(*by_language) | {m.end() for m in re.finditer(r"\n\s*", text)}
        ends = {len(text) - len(text[end:].lstrip()) for end in ends}
    bounds = [0, *sorted(ends - {0, len(text)}), len(text)]
    return [text[begin:end] for begin, end in pairwise(bounds) if begin < end]


def words(text: str) -> list[re.Match[str]]:
    """The words of a text by Unicode's rule (UAX 29); of Chinese and Japanese each character."""
    import regex

    return [*regex.finditer(r"[\p{L}\p{N}_](?:\B.)*", text, regex.WORD | regex.DOTALL)]


def _stripped(said: str) -> str:
    """The text without thinking, JSON, Markdown, quotes, and what is said around a caption."""
    text = _of_json(_FENCE.sub("", _TOKEN.sub("", answer_of(said))))
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and all(_ITEM.match(line) and line.count(" ") < 6 for line in lines):
        text = ", ".join(_ITEM.sub("", line).strip().rstrip(".,;") for line in lines)
    text = _MARKERS.sub("", text)
    for pattern, inner in _INLINE:
        text = pattern.sub(inner, text)
    text = _repeated(text.strip(), _once_stripped)
    return "" if _REFUSALS.match(text) else text


def _of_json(text: str) -> str:
    """The text, or the caption in it where it is JSON; empty if the JSON isn't whole."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "" if re.match(r"\s*[\[{]\s*[\"{\[]", text) else text
    return _text_of(found) if isinstance(found, dict | list) else text


def _text_of(found: Any) -> str:
    if isinstance(found, dict):
        keys = sorted(found, key=lambda key: not re.match(_TITLE, key, re.IGNORECASE))
        return next(filter(None, (_text_of(found[key]) for key in keys)), "")
    return ", ".join(map(_text_of, found)) if isinstance(found, list) else str(found)


def _once_stripped(text: str) -> str:
    for pattern in _LEADS:
        text = _without(text, rf"\A{pattern}")
    for first, last in _QUOTES.items():
        inner = text[1:-1]
        if len(text) > 2 and text[0] == first and text[-1] == last and first not in inner:
            text = inner.strip()
    for pattern in _SUBJECTS:
        text = _without(text, rf"\A{pattern}", begins=True)
    *said, last = sentences(text) or [""]
    return "".join(said).rstrip() if said and _OFFERS.match(last) else text


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


def _printable(text: str) -> str:
    """The text without control characters, and with single spaces."""
    line = " ".join(text.split())
    return "".join(c for c in line if c.isprintable() or c in _JOINERS).strip()


def _whole_sentences(text: str) -> str:
    """The sentences that have an end; empty if none has."""
    *whole, last = sentences(text) or [""]
    ended = re.search(r"[.!?。！？।؟…]\W*\Z", last)
    return text if ended else "".join(whole).rstrip()
