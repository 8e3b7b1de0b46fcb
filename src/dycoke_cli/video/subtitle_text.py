"""Plain text of subtitles: tags, styles and drawings are removed, and nothing else."""

from __future__ import annotations

import html
import re

from dycoke_cli.unicode import for_model

TEXT_CODECS = ("srt", "subrip", "webvtt", "text")
"""Codecs whose packets are plain text.

FFmpeg's decoders drop more of it than tags: "b and c" of "a<b and c>d", and in WebVTT all after a
lone "<".
"""
_BRACES = re.compile(r"(\{[^{}]*\})")
# FFmpeg converts tags of all formats to this style of ASS. In ASS files, any braces are tags.
_STYLE = "{\\"
# An ASS drawing is a vector shape in place of text: {\p1}m 0 0 l 100 0{\p0}
_DRAWING = re.compile(r"\\p([0-9])")
# Tags that subtitles are written with, in HTML and WebVTT, and times of single words. Anything else
# in angle brackets is text, such as the middle of "a<b and c>d".
_TAG = re.compile(
    r"""</?(?:a|b|big|br|c|center|em|font|i|lang|mark|p|rp|rt|ruby|s|small|span|strike|strong
              |sub|sup|tt|u|v)\b
        (?:\.[^\s<>.&]+)*+                                             # classes of WebVTT
        (?:\s*+[\w:-]++\s*+=\s*+(?:"[^"<]*+"|'[^'<]*+'|[^\s"'<>]++))*+  # attributes
        \s*+/?>
    |<(?:\d+:)?\d\d:\d\d\.\d\d\d>""",
    re.IGNORECASE | re.VERBOSE,
)
# In WebVTT these two tags have text of their own: who speaks, and a language.
_NOTED_TAG = re.compile(r"<(?:v|lang)(?:\.[^\s<>.&]+)*+\s[^<>]*+>")
_LINE_BREAK = re.compile(r"<br\s*+/?>", re.IGNORECASE)
_SPACE = re.compile(r"\\[Nnh]")
# FFmpeg's escapes of braces and backslashes in text of other formats than ASS.
_ESCAPED = (("\\{{}", "{"), ("\\\u2060", "\\"))


def plain_text(text: str, codec: str) -> str:
    """Plain text of a subtitle in the format of a codec, or in ASS, to which FFmpeg converts.

    Example: `{\\i1}Hello{\\i0} <b>you</b>` becomes `Hello you`.
    """
    in_ass = codec in ("ass", "ssa")
    if codec not in TEXT_CODECS and not in_ass:
        for escaped, character in _ESCAPED:
            text = text.replace(escaped, character)
    kept, is_drawing = [], False
    for part in _BRACES.split(text):
        if not _BRACES.fullmatch(part):
            kept.append("" if is_drawing else part)
            continue
        if scales := _DRAWING.findall(part):
            is_drawing = scales[-1] != "0"
        elif not (in_ass or is_drawing or part.startswith(_STYLE)):
            kept.append(part)  # braces in the text of another format
    text = _LINE_BREAK.sub(" ", "".join(kept))
    if codec == "webvtt":
        text = html.unescape(_NOTED_TAG.sub("", _TAG.sub("", text)))
    else:
        text = _TAG.sub("", text)
    return for_model(" ".join(_SPACE.sub(" ", text).split()))
