"""The soak: `dycoke batch` over 1,000 clips; a server under the worst that its limits allow.

Run as `python -m tests.soak`. Every clip must be answered once, and the memory of all processes be
flat. The server must answer `/health` in half a second and questions as before, and its memory
stays within 500 MB. `python -m tests.kills` kills batches, and goes on with them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests import surroundings
from tests.soaking.memory import batch, growth, is_flat
from tests.soaking.rendered import make_clips
from tests.soaking.serving import soak_server


def soak_batch(count: int, place: Path) -> list[str]:
    """Ask about so many clips; what isn't as it should be."""
    folder = make_clips(Path(tempfile.gettempdir()) / f"dycoke-soak-{count}", count)
    out, begun = place / "batch.jsonl", time.monotonic()
    code, samples = batch(folder, out)
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    print(f"batch: {len(lines)} lines, {time.monotonic() - begun:.0f} s", flush=True)
    found = [] if code == 0 else [f"it ended with {code}"]
    answered = sorted(Path(line["video"]).name for line in lines if "answer" in line)
    if answered != sorted(path.name for path in folder.glob("clip*")):
        found.append("not every clip was answered once")
    if count >= 200:  # else a third has too few samples
        print(f"batch: memory {growth(samples, count):+.1%} in the last third", flush=True)
        found += [] if is_flat(samples, count) else ["memory grows"]
    return [f"batch: {fault}" for fault in found]


def main() -> None:
    """Soak both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000, help="of the batch; 0: none")
    parser.add_argument("--serve-minutes", type=float, default=5, help="of the server; 0: none")
    parser.add_argument("--clients", type=int, default=16, help="that send it the worst bodies")
    parser.add_argument("--waiting", type=int, default=2000, help="idle and slow connections to it")
    given = parser.parse_args()
    surroundings.reset()
    place, found = Path(tempfile.mkdtemp(prefix="dycoke-soak-")), []
    if given.serve_minutes:
        seconds = 60 * given.serve_minutes
        figures = soak_server(place / "serve", seconds, given.clients, given.waiting)
        print(figures.text(), flush=True)
        found += [f"serve: {fault}" for fault in figures.faults()]
    if given.clips:
        found += soak_batch(given.clips, place)
    if found:
        sys.exit("\n".join([*found, f"what was written is in {place}"]))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
