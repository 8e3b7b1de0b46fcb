"""Subtitles of a video, and selection of the lines displayed at its sampled frames.

FFmpeg reads files (SubRip, WebVTT, ASS and SSA) and the text streams of a container. All times are
seconds from the video's first frame. Those of a file count from the start of the video's file,
where players begin, which is earlier if the audio begins before the picture.
"""

from __future__ import annotations

import html
import io
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from dycoke_cli.errors import OutOfMemoryError, UsageError
from dycoke_cli.storage.input_file import LFS_POINTER, open_file, starts_lfs_pointer
from dycoke_cli.unicode import display_name, for_model
from dycoke_cli.video.files import advice_on_address

if TYPE_CHECKING:
    from dycoke_cli.video.source import VideoSource


# Plain text of subtitles: tags, styles and drawings are removed, and nothing else.


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


AUTO = "auto"
"""Value that stands for a file of the video's name, or else a stream of its container."""
SPEECH = re.compile(r"speech(?::([a-z]{2,3}))?")
"""Value that stands for what is said in the video, maybe with the language it is in."""
HEADER = "This video's subtitles are listed below:"
"""Line of the prompt before the subtitles."""
SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
"""Suffixes of subtitle files, in search order."""
MAX_BYTES = 64 * 1024**2
MAX_EVENT_BYTES = 64 * 1024
"""Maximum size of a line or packet; longer ones are no displayed text."""
MAX_EVENTS = 300_000
"""Maximum number of lines of a file: three a second for a day. FFmpeg keeps all in memory."""
# What each line of SubRip and WebVTT has, and of ASS.
_EVENT = re.compile(r"-->|^Dialogue:", re.MULTILINE)
# The last one is Windows-1252. Unlike ISO 8859-1 it has quotes and letters instead of control
# characters.
ENCODINGS = ("utf-16", "utf-8-sig", "cp1252")
_FORMATS = "srt,webvtt,ass"
_ASS_FIELDS = 8  # before the text of an event, each followed by a comma
_FORCED = re.compile(r"\bforced\b", re.IGNORECASE)


@dataclass(frozen=True)
class SubtitleSource:
    """Source of a video's subtitles."""

    path: str | None  # of a file; None for a text stream of the container
    required: bool = True  # whether missing subtitles are an error; otherwise they are a warning
    # SHA-256 of the file's content, or what tells a speech model, if it is part of a cache key
    digest: str | None = None
    speech: str | None = None  # model that hears what is said; None for lines that are written
    language: str | None = None  # of the speech; None has the model tell


@dataclass(frozen=True)
class Line:
    """Subtitle displayed from `start_s` to `end_s` (exclusive); plain text without line breaks."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Subtitles:
    """Subtitles of a video, or a selection of their lines."""

    source: str  # file as the user gave it, or stream of the container; escaped for a terminal
    lines: tuple[Line, ...]  # sorted by start
    warnings: tuple[str, ...] = ()  # one sentence each

    def shifted(self, by_s: float) -> Subtitles:
        """Subtitles that are displayed later by a time in seconds, which may be negative."""
        lines = tuple(
            replace(line, start_s=line.start_s + by_s, end_s=line.end_s + by_s)
            for line in self.lines
        )
        return replace(self, lines=lines) if by_s else self

    def at(self, times_s: Sequence[float]) -> Subtitles:
        """Select the lines that are displayed at any of these times, which are ascending."""

        def is_shown(line: Line) -> bool:
            after = bisect_left(times_s, line.start_s)
            return after < len(times_s) and times_s[after] < line.end_s

        lines = tuple(line for line in self.lines if is_shown(line))
        none = () if lines else (f"no line of {self.source} is shown at a sampled frame",)
        return replace(self, lines=lines, warnings=(*self.warnings, *none))

    @property
    def text(self) -> str:
        """Text for the prompt, before the question; empty without lines."""
        if not self.lines:
            return ""
        return "".join(f"{text}\n" for text in (HEADER, *(line.text for line in self.lines)))


def find_source(
    video: str, wanted: str, *, required: bool = True, speech_model: str = ""
) -> SubtitleSource:
    """Find the source of a video's subtitles: by its name a file that no command here wrote."""
    if (speech := SPEECH.fullmatch(wanted)) is not None:
        return SubtitleSource(None, required, speech=speech_model, language=speech[1])
    if wanted != AUTO:
        if not os.path.isfile(wanted):
            if (advice := advice_on_address(wanted)) is not None:
                raise UsageError(f"--subtitles {display_name(wanted)} {advice}")
            raise UsageError(
                f"--subtitles {display_name(wanted)} isn't a file: check the spelling and the "
                "folder, or use --subtitles auto or speech"
            )
        return SubtitleSource(wanted)
    stem = os.path.splitext(video)[0]
    candidates = (f"{stem}{suffix}" for each in SUFFIXES for suffix in (each, each.upper()))
    from dycoke_cli.storage.made_files import MadeFiles  # late: few videos have subtitles

    made = MadeFiles()
    theirs = (path for path in candidates if os.path.isfile(path) and not made.is_own(path))
    return SubtitleSource(next(theirs, None), required)


def open_subtitles(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a subtitle file, for the caller to close."""
    try:
        return open_file(path, MAX_BYTES)
    except OSError as error:
        raise _unreadable(display_name(path), error) from error


def parse_subtitles(file: BinaryIO, name: str) -> Subtitles:
    """Read an open file in SubRip, WebVTT, ASS or SSA, by its content; `name` is for errors."""
    try:
        return _parsed(file, name)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"the subtitles {name} take far more memory than those of a film: leave out "
            "--subtitles, or set --memory-limit to what reading them may take"
        ) from error


def _parsed(file: BinaryIO, name: str) -> Subtitles:
    import av

    try:
        content = file.read(MAX_BYTES)
    except OSError as error:
        raise _unreadable(name, error) from error
    if starts_lfs_pointer(content):
        raise UsageError(f"the subtitle file {name} {LFS_POINTER}")
    text, warnings = _decoded(content, name)
    # Counted first: FFmpeg may crash where its memory ends.
    if any(count == MAX_EVENTS for count, _ in enumerate(_EVENT.finditer(text))):
        raise MemoryError
    try:
        # FFmpeg reads from memory, so that no content can make it open another file. It expects
        # UTF-8, and would stop at a NUL.
        container = av.open(
            io.BytesIO(text.replace("\0", for_model("\0")).encode()),
            mode="r",
            options={"format_whitelist": _FORMATS},
        )
    except MemoryError:  # FFmpeg's own is an FFmpegError, too, but not another format
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UsageError(
            f"the subtitles {name} can't be read: it is no SubRip, WebVTT or ASS file, or it is "
            "damaged at its start"
        ) from error
    with container:
        stream = container.streams[0]
        packets = (
            (packet, float(packet.pts * packet.time_base))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and packet.time_base
        )
        return _subtitles(name, _events(stream, packets), warnings)


def text_stream(source: VideoSource) -> int | str:
    """Index of the subtitle stream to read, or a sentence that says why there is none.

    Of several text streams, the one that the container marks as default, or the first. Forced
    ones come last, because they translate only what is said in another language.
    """
    from av.stream import Disposition

    def is_forced(one: Any) -> bool:
        title = one.metadata.get("title", "")
        return bool(one.disposition & Disposition.forced) or bool(_FORCED.search(title))

    streams = source.container.streams.subtitles
    text = [one for one in streams if one.codec_context and one.codec_context.codec.text_sub]
    if text:
        rank = {
            one.index: (is_forced(one), not one.disposition & Disposition.default) for one in text
        }
        return min(text, key=lambda one: rank[one.index]).index
    no_file = f"no file of its name ({', '.join(SUFFIXES)}) beside it that another program wrote"
    if not streams:
        return f"{source.name} has no subtitles: {no_file}, and no subtitle stream in it"
    kinds = {one.codec_context.name for one in streams if one.codec_context} or {"unknown"}
    return (
        f"{source.name} has no subtitles that can be read as text: {no_file}, and those in it are "
        f"pictures or have no decoder ({', '.join(sorted(kinds))})"
    )


def read_stream(source: VideoSource, index: int, until_s: float) -> Subtitles:
    """Read the lines of a subtitle stream up to a time; the position of the source changes.

    Args:
        until_s: last start of a line, in seconds from the video's first frame.
    """
    source.rewind()
    stream = source.container.streams[index]

    def packets() -> Iterator[tuple[Any, float]]:
        for packet in source.demux(stream):
            time = source.packet_time(packet)
            if time is not None:
                yield packet, float(time)
                # One line after the time is read, too. Without it, a stream whose lines all come
                # later would be reported as empty.
                if time > until_s:
                    return

    return _subtitles(f"stream {index} of {source.name}", _events(stream, packets()))


def _unreadable(name: str, error: OSError) -> UsageError:
    return UsageError(f"the subtitles {name} can't be read ({error.strerror})")


def _decoded(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Decode a file; returns a warning as well if the encoding is a guess."""
    # Without a byte order mark, text is UTF-8 if it decodes as that: other encodings of real text
    # practically never do.
    wide, usual, latin = ENCODINGS
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode(wide, "replace"), ()
    try:
        return content.decode(usual), ()
    except UnicodeDecodeError:
        text = content.decode(latin, "replace")
        guess = f"the subtitles {name} aren't UTF-8 text, and were read as Latin-1: convert them"
        return text, (f"{guess} if letters are wrong",)


def _events(stream: Any, packets: Iterator[tuple[Any, float]]) -> Iterator[Line | None]:
    """Yield the lines of timed packets; None for a line that is too long.

    Damaged packets are skipped.
    """
    import av

    context = stream.codec_context
    for packet, start in packets:
        end = start + float((packet.duration or 0) * packet.time_base)
        if packet.size > MAX_EVENT_BYTES:
            yield None
            continue
        if context.name in TEXT_CODECS:
            parts = [bytes(packet).decode("utf-8", "replace").rstrip("\0")]
        else:
            try:
                decoded = context.decode2(packet)
            except av.FFmpegError:
                continue
            events = (
                getattr(part, "ass", b"").decode("utf-8", "replace") for part in decoded or ()
            )
            # Example: `0,0,Default,,0,0,0,,{\\i1}Hello{\\i0} <b>you</b>`
            parts = [event.split(",", _ASS_FIELDS)[-1] for event in events]
        for part in parts:
            text = plain_text(part, context.name)
            if text:
                yield Line(start, end, text)


def _subtitles(
    name: str, lines: Iterator[Line | None], warnings: tuple[str, ...] = ()
) -> Subtitles:
    listed = list(lines)
    found = sorted(filter(None, listed), key=lambda line: line.start_s)
    if too_long := listed.count(None):
        which = "1 line" if too_long == 1 else f"{too_long} lines"
        long = f"of {name} with more than {MAX_EVENT_BYTES // 1024} KiB"
        warnings += (f"{which} {long} {'is' if too_long == 1 else 'are'} left out",)
    if not found:
        raise UsageError(f"the subtitles {name} have no line of text")
    return Subtitles(name, tuple(found), warnings)
