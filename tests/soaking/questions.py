"""Many questions in one process, each of a new session; and some in processes of their own.

`python -m tests.soaking.questions FOLDER COUNT OUT` asks them, a line each; what is in OUT is not
asked again. Videos and methods take turns, so that each of them comes again and again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.soaking.killing import DTYPE, QUESTION, lines_of

QUESTIONS = (QUESTION, "What colour is the first object?", "Describe what happens.")
METHODS = ("dycoke", "none", "dycoke-plus", "fastv", "visionzip", "holitom", "random")
FRAMES, NEW_TOKENS = 4, 16

Answered = tuple[Path, str, str | None, str]
"""A video, a question, a method or None for the default of the command line, and the answer."""


def ask_all(clips: list[Path], count: int, out: Path) -> None:
    """Ask in this process."""
    from dycoke_cli import VideoSession, load
    from dycoke_cli.compression.registry import create
    from dycoke_cli.video import Sampling, read

    loaded = load("mini", device="cpu", dtype=DTYPE)
    begin = len(lines_of(out)) if out.exists() else 0
    with out.open("a") as file:
        for number in range(begin, count):
            path, question, name = asked(clips, number)
            method = create(name)
            session = VideoSession(loaded, read(path, Sampling(frames=FRAMES)))
            answer = session.ask(question, method, max_new_tokens=NEW_TOKENS)
            file.write(json.dumps({"number": number, "answer": answer.answer}) + "\n")
            file.flush()


def asked(clips: list[Path], number: int) -> tuple[Path, str, str]:
    """The video, the question and the method of a number."""
    return (
        clips[number % len(clips)],
        QUESTIONS[number % len(QUESTIONS)],
        METHODS[number % len(METHODS)],
    )


def run(folder: Path, count: int, out: Path, watch: Callable[[int], None]) -> int:
    """Ask in one other process, and return its exit code."""
    command = [sys.executable, "-m", "tests.soaking.questions", str(folder), str(count), str(out)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None:
        watch(process.pid)
    return process.returncode


def answers_in(clips: list[Path], out: Path) -> list[Answered]:
    """What was answered."""
    lines = [json.loads(line) for line in lines_of(out)]
    return [(*asked(clips, line["number"]), line["answer"]) for line in lines]


def differing(answers: Sequence[Answered], sample: int) -> list[str]:
    """Those of a sample that `dycoke ask` answers otherwise, in a process for each."""
    found = []
    for path, question, method, said in Random(sample).sample(answers, min(sample, len(answers))):
        more = ["--frames", str(FRAMES), "--max-new-tokens", str(NEW_TOKENS), "--dtype", DTYPE]
        # A method that is named runs all of its stages; the default is stage 1 of dycoke alone.
        more += [] if method is None else ["--method", method]
        told = subprocess.run(
            [sys.executable, "-m", "dycoke_cli", "ask", str(path), question, "--json", *more],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
        if (fresh := json.loads(told.stdout)["answer"]) != said:
            found.append(f"{path.name}, {method}: {said!r}, in a new process {fresh!r}")
    return found


if __name__ == "__main__":
    ask_all(sorted(Path(sys.argv[1]).glob("clip*")), int(sys.argv[2]), Path(sys.argv[3]))
