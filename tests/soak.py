"""The soak: `dycoke batch` over 1,000 clips, killed again and again; 500 questions in one process;
a server under the worst bodies and connections that its limits allow.

Run as `python -m tests.soak`. For each engine it checks that every clip that can be read is
answered once and every other one has one error; that an undisturbed run gives the same answers;
that a run with nothing left to do says that failures stand; and that memory is flat. The answers of
the one process must be those of new ones, and its memory flat, too. The server must answer
`/health` in half a second and questions as before, and its memory stays within 500 MB. With
`--kills 0 --place DIR` batch runs once, undisturbed, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import surroundings
from tests.soaking import questions
from tests.soaking.killing import FAILURES_STAND, QUESTION, Command, kill_again_and_again, lines_in
from tests.soaking.memory import Sample, draw, growth, is_flat, sampler
from tests.soaking.rendered import Clips, make_clips
from tests.soaking.serving import soak_server
from tests.soaking.verdict import answers_in, faults

SAMPLE = 8
"""Answers that are compared with those of new processes."""


def soak(
    clips: Clips,
    engine: str,
    kills: int,
    seed: int,
    place: Path,
    *,
    memory: bool,
    fresh: int = 0,
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> tuple[list[str], list[Sample]]:
    """Soak one engine.

    Args:
        memory: check that it is flat; for that a run must be long.

    Returns:
        what isn't as it should be, and the memory of an undisturbed run.
    """
    command = Command(clips.folder, engine, place / f"{engine}.log", popen)
    whole = place / f"{engine}-whole.jsonl"
    found, killed = [], None
    if kills:
        killed = place / f"{engine}-killed.jsonl"
        found += _killed(clips, command, killed, kills, seed)
    begun, samples = time.monotonic(), []
    command.finish(whole, sampler(whole, samples))
    print(f"{engine}: undisturbed, {lines_in(whole)} lines, {time.monotonic() - begun:.0f} s")
    found += faults(clips, whole)
    if killed is not None and answers_in(whole) != answers_in(killed):
        found.append("answers differ from those of an undisturbed run")
    said = answers_in(whole).items()
    answers: list[questions.Answered] = [
        (clips.folder / name, QUESTION, None, text) for name, text in said
    ]
    found += questions.differing(answers, fresh)
    if memory:
        found += _grown(engine, samples, len(clips.good) + len(clips.bad))
    return [f"{engine}: {fault}" for fault in found], samples


def _killed(clips: Clips, command: Command, out: Path, kills: int, seed: int) -> list[str]:
    """Run it with kills, and once more with nothing to do; what isn't as it should be."""
    total = len(clips.good) + len(clips.bad)
    begun, found = time.monotonic(), []
    if kills != (done := kill_again_and_again(command, out, total, kills, seed)):
        found.append(f"it ended before it could be killed {kills} times: {done}")
    for why in ("the last run", "a run with nothing to do"):
        if (code := command.finish(out)) != FAILURES_STAND:
            found.append(f"{why} ended with {code}")
    took = time.monotonic() - begun
    print(f"{command.engine}: {done} kills, {lines_in(out)} lines, {took:.0f} s", flush=True)
    return found + faults(clips, out)


def _grown(name: str, samples: list[Sample], total: int) -> list[str]:
    print(f"{name}: memory {growth(samples, total):+.1%} in the last third", flush=True)
    return [] if is_flat(samples, total) else ["memory grows"]


def question_soak(clips: Clips, count: int, place: Path) -> tuple[list[str], list[Sample]]:
    """Ask so many questions in one process; see `soak` for what is returned."""
    out, samples = place / "questions.jsonl", list[Sample]()
    begun = time.monotonic()
    found = []
    if code := questions.run(clips.folder, count, out, sampler(out, samples)):
        found.append(f"it ended with {code}")
    answers = questions.answers_in(sorted(clips.folder.glob("clip*")), out)
    found += questions.differing(answers, SAMPLE)
    print(f"questions: {lines_in(out)} lines, {time.monotonic() - begun:.0f} s", flush=True)
    if count >= 200:
        found += _grown("questions", samples, count)
    return [f"questions: {fault}" for fault in found], samples


def main() -> None:
    """Soak the engines that are named, and the one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--engine", action="append", choices=["local", "none"])
    parser.add_argument("--serve-minutes", type=float, default=5, help="of the server; 0: none")
    parser.add_argument("--clients", type=int, default=16, help="that send it the worst bodies")
    parser.add_argument("--waiting", type=int, default=2000, help="idle and slow connections to it")
    parser.add_argument("--place", type=Path, metavar="DIR", help="kept, to go on from there")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--write", type=Path, metavar="PNG", help="a picture of the memory")
    given = parser.parse_args()
    surroundings.reset()
    print(f"seed {given.seed}")
    place = given.place or Path(tempfile.mkdtemp(prefix="dycoke-soak-"))
    place.mkdir(parents=True, exist_ok=True)
    found, runs = [], dict[str, list[Sample]]()
    if given.serve_minutes:
        figures = soak_server(
            place / "serve", 60 * given.serve_minutes, given.clients, given.waiting
        )
        print(figures.text(), flush=True)
        found += [f"serve: {fault}" for fault in figures.faults()]
    engines = [engine for engine in given.engine or ["local"] if engine != "none"]
    cached = Path(tempfile.gettempdir()) / f"dycoke-soak-{given.clips}-{given.broken}"
    if given.questions or engines:
        clips = make_clips(cached, given.clips, given.broken)
    if given.questions:
        name = f"{given.questions:,} questions in one process"
        more, runs[name] = question_soak(clips, given.questions, place)
        found += more
    for engine in engines:
        name = f"batch --engine {engine}, {given.clips:,} clips"
        more, runs[name] = soak(
            clips, engine, given.kills, given.seed, place, memory=given.clips >= 200, fresh=SAMPLE
        )
        found += more
    if given.write is not None:
        draw(runs, given.write)
    if found:
        sys.exit("\n".join([*found, f"what was written is in {place}"]))
    if given.place is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
