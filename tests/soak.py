"""The soak of `dycoke batch`: 1,000 clips, 20 of them broken, and ten kills at random moments.

Run as `make soak`. For each engine it checks that every clip that can be read is answered once and
every other one has one error; that an undisturbed run gives the same answers; that a run with
nothing left to do says that failures stand; and that memory is flat.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.soaking.killing import FAILURES_STAND, Command, kill_again_and_again, lines_in
from tests.soaking.memory import Sample, draw, growth, is_flat, sampler
from tests.soaking.rendered import Clips, make_clips
from tests.soaking.verdict import answers_in, faults


def soak(
    clips: Clips, engine: str, kills: int, seed: int, place: Path, *, memory: bool
) -> tuple[list[str], list[Sample]]:
    """Soak one engine.

    Args:
        clips: to ask about.
        engine: its name.
        kills: at random moments.
        seed: of the moments.
        place: an empty folder for what it leaves.
        memory: check that it is flat; for that a run must be long.

    Returns:
        what isn't as it should be, and the memory of an undisturbed run.
    """
    total = len(clips.good) + len(clips.bad)
    command = Command(clips.folder, engine, place / f"{engine}.log")
    killed, whole = place / f"{engine}-killed.jsonl", place / f"{engine}-whole.jsonl"
    begun = time.monotonic()
    found = []
    if kills != (done := kill_again_and_again(command, killed, total, kills, seed)):
        found.append(f"it ended before it could be killed {kills} times: {done}")
    for why in ("the last run", "a run with nothing to do"):
        if (code := command.finish(killed)) != FAILURES_STAND:
            found.append(f"{why} ended with {code}")
    found += faults(clips, killed)
    print(f"{engine}: {done} kills, {lines_in(killed)} lines, {time.monotonic() - begun:.0f} s")
    begun, samples = time.monotonic(), []
    command.finish(whole, sampler(whole, samples))
    print(f"{engine}: undisturbed, {lines_in(whole)} lines, {time.monotonic() - begun:.0f} s")
    found += faults(clips, whole)
    if answers_in(whole) != answers_in(killed):
        found.append("answers differ from those of an undisturbed run")
    if memory:
        print(f"{engine}: memory {growth(samples, total):+.1%} in the last third")
        if not is_flat(samples, total):
            found.append("memory grows")
    return [f"{engine}: {fault}" for fault in found], samples


def main() -> None:
    """Soak the engines that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--engine", action="append", choices=["local", "ray"])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--write", type=Path, metavar="PNG", help="a picture of the memory")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    cached = Path(tempfile.gettempdir()) / f"dycoke-soak-{given.clips}-{given.broken}"
    clips = make_clips(cached, given.clips, given.broken)
    place = Path(tempfile.mkdtemp(prefix="dycoke-soak-"))
    found, runs = [], {}
    for engine in given.engine or ["local", "ray"]:
        more, runs[engine] = soak(
            clips, engine, given.kills, given.seed, place, memory=given.clips >= 200
        )
        found += more
    if given.write is not None:
        draw(runs, given.write)
    if found:
        sys.exit("\n".join([*found, f"what was written is in {place}"]))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
