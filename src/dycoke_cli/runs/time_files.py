"""Times of answers as files that editors and players read: subtitles and markers.

Times of answers count from a video's first frame. Players count from the start of the file, which
`VideoInfo.lead_s` is the difference to.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import LEAST_MASS
from dycoke_cli.ask import Footage
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.runs.tables import csv_of, fields_of
from dycoke_cli.storage.made_files import MadeFiles, check_replaceable, stays, write_made
from dycoke_cli.storage.output_file import (
    beside,
    check_output_file,
    check_writable,
    short_name,
    unwritable,
)
from dycoke_cli.unicode import display_name, shown, to_json, valid
from dycoke_cli.video.clip import VideoInfo
from dycoke_cli.video.decoder import info_of
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling, exact

# SubRip has no escapes for what players take for tags and styles.
_FULL_WIDTH = str.maketrans("<>{}\\", "＜＞｛｝＼")
_COLUMNS = fields_of("video,start,end,question,answer")
_KEYS = ("video", "question", "answer", "choice", "parsed", "when", "start", "end")


@dataclass(frozen=True)
class Marker:
    """A time range of a video, and what is said of it."""

    start_s: float  # from the first frame
    end_s: float
    text: str  # the answer; of a question for yes or no the question
    question: str
    answer: str


def timed_fields(line: Mapping[str, Any]) -> dict[str, Any]:
    """What `markers_of` needs of an answer's JSON object; of a failure no times."""
    if "error" in line:
        return {}
    found = {key: line[key] for key in _KEYS if line.get(key) is not None}
    found["options"] = [*(line.get("probabilities") or ())]
    found["mass"] = line.get("scoring", {}).get("mass", 1.0)
    return found


def markers_of(lines: Iterable[Mapping[str, Any]]) -> list[Marker]:
    """The markers of one video, by their starts, from lines of `timed_fields`.

    The ranges of `--when`; of parts all, or those that the model would answer with yes, of yes and
    no. Neighbours of one answer are one marker. An answer about a whole video has none.
    """
    lines = [*lines]
    several = len({line.get("question") for line in lines}) > 1
    found: list[Marker] = []
    for line in lines:
        question = str(line.get("question", ""))
        answer = str(line.get("answer", line.get("choice", to_json(line.get("parsed", "")))))
        if "when" in line:
            ranges = [(each["start"], each["end"]) for each in line["when"]]
            found += (Marker(start, end, question, question, "yes") for start, end in ranges)
        elif "start" in line and "end" in line:
            text = f"{question} {answer}" if several else answer
            if {option.casefold() for option in line["options"]} == {"yes", "no"}:
                if answer.casefold() != "yes" or line["mass"] < LEAST_MASS:
                    continue
                text = question
            found.append(Marker(line["start"], line["end"], text, question, answer))
    found = [marker for marker in found if marker.text.strip()]  # a model may say nothing
    joined: list[Marker] = []
    last: dict[tuple[str, str], int] = {}
    for marker in sorted(found, key=lambda marker: marker.start_s):
        place = last.get((marker.question, marker.text))
        if place is not None and joined[place].end_s >= marker.start_s:
            end_s = max(joined[place].end_s, marker.end_s)
            joined[place] = replace(joined[place], end_s=end_s)
            continue
        last[marker.question, marker.text] = len(joined)
        joined.append(marker)
    return joined


@dataclass(frozen=True)
class MarkedVideo:
    """A video with its markers."""

    name: str
    markers: Sequence[Marker]
    info: VideoInfo | None  # None where it can't be opened


def srt(videos: Sequence[MarkedVideo]) -> str:
    """SubRip subtitles of one video."""
    cues = _cues(videos, ",", lambda text: text.translate(_FULL_WIDTH))
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1))


def vtt(videos: Sequence[MarkedVideo]) -> str:
    """WebVTT subtitles of one video (W3C, WebVTT: The Web Video Text Tracks Format)."""
    return "\n".join(["WEBVTT\n", *_cues(videos, ".", partial(html.escape, quote=False))])


def markers_csv(videos: Sequence[MarkedVideo]) -> str:
    """A table, in seconds from the first frame."""
    lines = []
    for video in videos:
        for marker in video.markers:
            line: dict[str, Any] = {"video": video.name, "question": marker.question}
            line |= {"start": round(marker.start_s, 3), "end": round(marker.end_s, 3)}
            line["answer"] = marker.answer
            lines.append(line)
    return csv_of(_COLUMNS, lines).decode()


LIST = ".markers.csv"
"""Suffix of files that may be about several videos."""


@dataclass(frozen=True)
class TimeFiles:
    """Where times are written.

    Args:
        out: a file, or a suffix alone, which stands for a file for each video, beside it.
        suffix: of its format.
        make: makes the content of videos with their markers.
        folder: has the files in place of the videos' folders, with the same subfolders.
        flag: that names `out`, for errors.
    """

    out: Path
    suffix: str
    make: Callable[[Sequence[MarkedVideo]], str]
    folder: Path | None = None
    flag: str = "--out"

    @property
    def per_video(self) -> bool:
        """Whether each video has a file."""
        return self.out.name.lower() == self.suffix

    @property
    def journal(self) -> Path:
        """The file of results that a batch resumes from, and makes these files of."""
        if self.per_video:
            return (self.folder or self.out.parent) / "answers.jsonl"
        return self.out.with_name(self.out.name[: -len(self.suffix)] + ".jsonl")

    def make_folder(self) -> None:
        """Make the folder of `--out-dir`, which has the journal."""
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(unwritable(self.folder, error, "--out-dir")) from error

    def refusal(self) -> UsageError:
        """Why answers about whole videos can't be written."""
        return UsageError(
            f"{self.flag} {short_name(self.out)} is for times: add --when, or --every 30s; "
            "`> FILE` keeps an answer, and `dycoke batch VIDEO QUESTION --out FILE.csv` a table"
        )

    def path(self, video: Footage) -> Path:
        """The file of a video."""
        if not self.per_video:
            return self.out
        path = video.source if isinstance(video.source, str) else video.name
        return beside(path, video.place, self.suffix, self.folder)

    def check(self, videos: Sequence[Footage], *, resumes: bool = False) -> None:
        """Check that the files can be written, before anything is asked.

        Args:
            resumes: whether files that were written before, and not changed since, are replaced.
        """
        paths: dict[Path, Footage] = {}
        for video in videos:
            other = paths.setdefault(self.path(video), video)
            if self.per_video and other is not video:
                raise UsageError(
                    f"{display_name(other.name)} and {display_name(video.name)} have one file, "
                    f"{short_name(self.path(video))}: rename one of them, or write one file of "
                    f"all, as in {self.flag} all.markers.csv"
                )
        if not self.per_video and self.suffix != LIST and len(videos) > 1:
            raise UsageError(
                f"{self.flag} {short_name(self.out)} is about one clip, and there are "
                f"{len(videos):,}: {self.flag} {self.suffix} writes a file for each; {LIST} has all"
            )
        for path in paths:
            if self.per_video:
                check_writable(path.parent, "--out-dir FOLDER writes elsewhere")
            else:
                check_output_file(path, self.flag, "name a file", folder=OutputError)
            check_replaceable(path, resumes=resumes)

    def write(
        self,
        videos: Sequence[Footage],
        lines: Iterable[Mapping[str, Any]],
        sampling: Sampling,
        limits: Limits,
    ) -> str:
        """Write what was found; a file without a marker isn't written, or is removed.

        Args:
            lines: answers' JSON objects, about these videos.
            sampling: has the stream of the videos, and the rate of raw ones.

        Returns:
            How many there are, as a sentence.
        """
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for line in map(timed_fields, lines):
            by_name.setdefault(str(line.get("video", "")), []).append(line)
        found: dict[Path, list[MarkedVideo]] = {}
        total = 0
        for video in videos:
            marked = found.setdefault(self.path(video), [])
            if markers := markers_of(by_name.get(valid(video.name), ())):
                info = info_of(video.source, sampling, limits, video.shown_as)
                marked.append(MarkedVideo(video.name, markers, info))
                total += len(markers)
        texts = {path: self.make(marked) for path, marked in found.items() if marked}
        others, removed = [], 0
        for path in found:
            try:
                if path in texts:
                    others += [path] * (not write_made(path, texts[path].encode(), self.flag))
                elif MadeFiles().is_own(path):
                    path.unlink()
                    removed += 1
            except OSError as error:
                raise OutputError(unwritable(path, error, self.flag)) from error
        if others:
            raise stays(others)
        old = f"; {removed:,} of an earlier run, now without a range, removed" if removed else ""
        if not texts:
            return f"Nothing was found: no times are written{old}"
        one, *more = texts
        folders = {short_name(path.parent) for path in texts}
        where = f"{len(texts):,} files in {', '.join(sorted(folders))}" if more else short_name(one)
        return f"{total:,} time range{'s' if total != 1 else ''} in {where}{old}"


def _clock(seconds: float, point: str) -> str:
    whole, ms = divmod(round(exact(seconds) * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{ms:03}"


def _cues(
    videos: Sequence[MarkedVideo], point: str, escaped: Callable[[str], str]
) -> Iterator[str]:
    [video] = videos
    lead_s = 0.0 if video.info is None else video.info.lead_s
    for one in video.markers:
        # An empty line or an arrow would end it.
        lines = [line.strip() for line in shown(one.text).replace("-->", "→").splitlines()]
        times = f"{_clock(one.start_s + lead_s, point)} --> {_clock(one.end_s + lead_s, point)}"
        yield "\n".join([times, *map(escaped, filter(None, lines)), ""])
