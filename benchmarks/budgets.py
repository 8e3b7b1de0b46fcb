"""Twenty random budgets of `--fit`, beside the memory and seconds that the bundled model took.

Each is drawn between the least that an answer takes and a tenth more than the most, from a fixed
seed. Memory is the peak of a fresh process (VmHWM). Seconds are processor time of one thread, of
calibration as well as of answers, medians of three: on a machine that is shared, what else runs
hardly changes it. Prints a Markdown table; exit status 1 if a budget is exceeded by more than 10 %.
`--write` also puts the table into docs/models.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.page import ROOT, put, where
from dycoke_cli.resources import usable_cpus

NAME = "budgets"
EACH, SEED = 10, 55
"""Budgets of each kind, and the seed that they are drawn with."""
ASKED, SIDE, NEW = 256, 384, 8
ALLOWED = 1.1


def fitted(budget: Any) -> Any:
    """The choice for a budget, of frames that fill the bundled model's context twice over."""
    from dycoke_cli.compression.base import Method
    from dycoke_cli.engine.generation_options import GenerationOptions
    from dycoke_cli.models.load_options import LoadOptions
    from dycoke_cli.request import Request
    from dycoke_cli.runs.fit_settings import fitting
    from dycoke_cli.runs.fitting import AskedFrames
    from dycoke_cli.video import Sampling

    generation = GenerationOptions(max_new_tokens=NEW)
    request = Request("mini", LoadOptions(device="cpu"), Sampling(ASKED), Method(), generation)
    return fitting(request, budget, AskedFrames(ASKED, SIDE, SIDE), free_method=True)


def answered(request: Any, loaded: Any = None) -> Any:
    """The answer of a request, about pictures of noise, which are decoded already."""
    import numpy as np

    from dycoke_cli import VideoSession, load
    from dycoke_cli.models.prompts.prompt_frames import ShownFrames

    count, generation = request.sampling.frames, request.generation
    loading = {"dtype": request.loading.dtype, "quantize": request.loading.quantize}
    loaded = loaded or load("mini", device="cpu", **loading)
    resize = loaded.fit(count, SIDE, SIDE)
    drawn = np.random.default_rng(0)  # equal frames would be encoded once
    frames = np.stack(
        [resize(drawn.integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for _ in range(count)]
    )
    clip = ShownFrames(frames, tuple(map(float, range(count))), resize=resize)
    session = VideoSession(loaded, clip, reuse=False)
    given = {"max_new_tokens": generation.max_new_tokens}
    return session.ask("What happens in the video?", request.method, **given)


def drawn(number: int, values: list[float]) -> float:
    """A random budget between the least and a tenth more than the most of some costs."""
    return random.Random(SEED + number).uniform(min(values), ALLOWED * max(values))


def costs_of_all(planned: Any) -> list[Any]:
    """Costs of every setting with one frame and with all, where they fit into the context."""
    each = ((setting, frames) for setting in planned.settings for frames in (1, ASKED))
    costs = [planned.costs(*one) for one in each]
    return [one for one in costs if one is not None and one.in_context]


def of_memory(number: int) -> dict[str, Any]:
    """Peak of this process, which should be a fresh one, with a budget of memory."""
    from benchmarks.resident import peak
    from dycoke_cli.engine.memory.fit import Budget

    every = fitted(Budget())
    bound = int(drawn(number, [costs.bytes for costs in costs_of_all(every)]))
    planned = fitted(Budget(bytes=bound))
    choice = planned.choice()
    answered(planned.applied(choice))
    reached = peak()
    if reached is None:
        raise SystemExit("the peak of a process is known on Linux alone")
    return {"bound": bound, "taken": reached, "reason": planned.report(choice).reason}


def of_seconds() -> list[dict[str, Any]]:
    """What answers took in this process, with budgets of seconds; first the model is timed."""
    from dycoke_cli import load
    from dycoke_cli.engine.memory.fit import Budget
    from dycoke_cli.runs.listener import Listener

    every = fitted(Budget(seconds=3600.0))
    every.settled(Listener())
    all_times = [one.seconds * ALLOWED for one in costs_of_all(every) if one.seconds is not None]
    rows, models = [], {}
    for number in range(EACH):
        bound = drawn(number, all_times)
        planned = fitted(Budget(seconds=bound))
        request, _ = planned.settled(Listener())
        loading = request.loading
        if loading not in models:
            models[loading] = load(
                "mini", device="cpu", dtype=loading.dtype, quantize=loading.quantize
            )
            answered(request, models[loading])  # libraries prepare kernels at their first use
        answers = [answered(request, models[loading]) for _ in range(3)]
        times = [one.seconds.vision + one.seconds.prefill + one.seconds.decode for one in answers]
        reason = planned.report(planned.choice()).reason
        rows.append({"bound": bound, "taken": median(times), "reason": reason})
    return rows


def by_processor_time() -> None:
    """From now on, the engine and the timing of kernels count processor time, on any machine."""
    from dycoke_cli import resources

    time.perf_counter = time.process_time
    resources.is_overloaded = lambda: False  # before anything takes it from there


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="also write it into docs/models.md")
    arguments = parser.parse_args()
    if arguments.part:
        kind, _, value = arguments.part.partition(" ")
        if kind == "memory":
            print(json.dumps(of_memory(int(value))))
            return
        by_processor_time()
        print(json.dumps(of_seconds()))
        return
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DYCOKE_CACHE": cache}

        def part(words: str) -> Any:
            command = [sys.executable, "-m", "benchmarks.budgets", "--part", words]
            done = subprocess.run(
                command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE
            )
            return json.loads(done.stdout.splitlines()[-1])

        with ThreadPoolExecutor(usable_cpus()) as pool:
            words = ["seconds", *(f"memory {number}" for number in range(EACH))]
            timed, *sizes = pool.map(part, words)
        rows = [("GB", 1e-9, row) for row in sizes] + [("s", 1.0, row) for row in timed]
    lines = ["| budget | taken | of it | choice |", "|---|---|---|---|"]
    for unit, scale, row in rows:
        chosen = row["reason"].partition(": ")[2].partition(" (")[0]
        bound, taken = (f"{row[key] * scale:#.3g} {unit}" for key in ("bound", "taken"))
        lines.append(f"| {bound} | {taken} | {row['taken'] / row['bound']:.0%} | {chosen} |")
    shares = [row["taken"] / row["bound"] for *_, row in rows]
    notes = (
        f"Bundled model, {ASKED} frames asked for, at most {NEW} new tokens. The largest is "
        f"{max(shares):.0%} of its budget. Memory: peak of the process (VmHWM). Seconds: processor "
        "time of vision, prefill and decode, one thread, medians of 3."
    )
    table = "\n".join([*lines, "", f"{notes} {where()}"])
    print(table)
    if arguments.write:
        put(table, NAME, Path(ROOT) / "docs" / "models.md")
    if max(shares) > ALLOWED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
