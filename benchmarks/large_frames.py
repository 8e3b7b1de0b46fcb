"""Memory of videos whose frames are larger than a model reads: 4K, an hour of 720p, three clips.

Each case is a process of its own, with frames at the model's size or as decoded. Prints a Markdown
table; `--write` also puts it into docs/speed.md. Linux alone tells the memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks import resident
from benchmarks.page import ROOT, put, where
from dycoke_cli.errors import VideoError
from dycoke_cli.video import Clip, Decoder, Sampling

PAGE = ROOT / "docs" / "speed.md"
NAME = "large-frames"
_POLL_S = 0.1
_MB = 1e6


@dataclass(frozen=True)
class Memory:
    """Of one case, in bytes."""

    peak: int  # of the process that has the model, beyond what it held before the video
    held: int  # in the end, beyond what it held before
    in_all: int  # of all processes, libraries and weights included, at the worst moment


@dataclass(frozen=True)
class Film:
    """A drawn video: a picture that pans."""

    width: int
    height: int
    frames: int
    rate: int

    def write(self, path: Path) -> Path:
        """Write it as H.264."""
        noise = np.random.default_rng(0).integers(
            0, 256, (self.height // 8 + 50, self.width // 8 + 50, 3), np.uint8
        )
        picture = noise.repeat(8, 0).repeat(8, 1)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=self.rate)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.options = {"preset": "ultrafast", "crf": "30", "g": "12"}
            for number in range(self.frames):
                at = 4 * number % 400
                shown = picture[at : at + self.height, at : at + self.width]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, self.rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path


FILMS = {
    "4k": Film(3840, 2160, 64, 8),
    "1080p": Film(1920, 1080, 64, 8),
    "hour": Film(1280, 720, 3600, 1),
}


def _processor(name: str) -> tuple[Any, Any, Any]:
    """Processor, family and configuration of a published model, without its weights."""
    from transformers import AutoConfig

    from dycoke_cli.models.catalog import published
    from dycoke_cli.models.families import FAMILIES
    from dycoke_cli.models.random_weights import byte_processor

    model = published(name)
    config = AutoConfig.for_model(**model.config)
    processor = byte_processor(model, config.get_text_config().vocab_size)
    return processor, FAMILIES[config.model_type], config


def _one_4k(film: str, decoded: bool) -> Memory:
    """32 frames for a SigLIP tower of 384 px, until the stock processor has run."""
    from dycoke_cli.models.prompts.frame_fit import fit_of
    from dycoke_cli.models.prompts.video_prompt import make_prompt

    parts = _processor("llava-onevision-0.5b")

    def read() -> Any:
        clip = _read(film, Sampling(frames=32), None if decoded else fit_of(*parts))
        return clip, make_prompt(*parts, clip)

    return _measured(read)


def _hour(film: str, decoded: bool) -> Memory:
    """3,600 frames, encoded by the bundled model."""
    from dycoke_cli import VideoSession, load
    from dycoke_cli.compression.bound import BASELINE
    from dycoke_cli.engine.generation import Stopwatch

    loaded = load("mini", device="cpu", dtype="float32")

    def read() -> Any:
        clip = _read(film, Sampling(fps=1.0), None if decoded else loaded.fit)
        session = VideoSession(loaded, clip)
        session.encode(Stopwatch(loaded.input_device), BASELINE)
        return session

    return _measured(read)


def _three_held(film: str, decoded: bool) -> Memory:
    """Three sessions of 32 frames with the bundled model, as a server holds them."""
    from dycoke_cli import VideoSession, load

    loaded = load("mini", device="cpu", dtype="float32")
    fit = None if decoded else loaded.fit
    sampling = Sampling(frames=32)
    return _measured(lambda: [VideoSession(loaded, _read(film, sampling, fit)) for _ in range(3)])


@dataclass(frozen=True)
class Case:
    """What is measured: its name in the table, its film and its function."""

    title: str
    film: str
    measure: Callable[[str, bool], Memory]


CASES = {
    "4k": Case("32 frames of 4K, read at 384 px", "4k", _one_4k),
    "held": Case("three held clips of 32 frames of 1080p, bundled model", "1080p", _three_held),
    "hour": Case("3,600 frames of 720p, encoded by the bundled model", "hour", _hour),
}


def _read(film: str, sampling: Sampling, fit: Any) -> Clip:
    from dycoke_cli.video.kept_frames import known

    with Decoder() as decoder:
        return decoder.read(film, sampling, fit=None if fit is None else known(fit))


def _measured(work: Callable[[], Any]) -> Memory:
    resident.forget_peak()
    floor = resident.held() or 0
    with _peak_of_all() as peaks:
        kept = work()
    held = (resident.held() or 0) - floor
    assert kept is not None
    return Memory((resident.peak() or 0) - floor, held, max(peaks))


@contextmanager
def _peak_of_all() -> Iterator[list[int]]:
    """Resident bytes of this process and the private ones of its decoders, again and again."""
    peaks, ended = [resident.held() or 0], threading.Event()

    def poll() -> None:
        while not ended.wait(_POLL_S):
            peaks.append((resident.held() or 0) + sum(map(_private, _below())))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _below() -> list[int]:
    """Ids of all processes that descend from this one."""
    found: list[int] = []
    todo = [Path("/proc/self").resolve().name]
    while todo:
        tasks = Path(f"/proc/{todo.pop()}/task")
        try:
            children = [pid for task in tasks.iterdir() for pid in _text(task / "children").split()]
        except OSError:
            continue
        found += map(int, children)
        todo += children
    return found


def _private(pid: int) -> int:
    lines = _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=[*CASES], action="append", help="repeat it")
    parser.add_argument("--write", action="store_true", help="into docs/speed.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        [name], (film, kept) = arguments.case, arguments.one
        try:
            found: Any = asdict(CASES[name].measure(film, kept == "decoded"))
        except VideoError as error:
            found = str(error)
        print(json.dumps(found))
        return
    rows = ["| | frames kept | peak, MB | held, MB | all processes, MB |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.case or CASES:
            case = CASES[name]
            film = FILMS[case.film].write(Path(folder) / f"{name}.mp4")
            rows += [_row(name, case.title, film, kept) for kept in ("decoded", "fitted")]
    table = "\n".join([*rows, "", where()])
    print(table)
    if arguments.write:
        put(table, NAME, PAGE)


def _row(name: str, title: str, film: Path, kept: str) -> str:
    command = [sys.executable, "-m", "benchmarks.large_frames", "--case", name, "--one", film, kept]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    found, shown = (
        json.loads(done.stdout),
        "as decoded" if kept == "decoded" else "as the model reads them",
    )
    if isinstance(found, str):
        return f"| {title} | {shown} | refused | | |"
    figures = " | ".join(f"{found[name] / _MB:,.0f}" for name in ("peak", "held", "in_all"))
    return f"| {title} | {shown} | {figures} |"


if __name__ == "__main__":
    main()
