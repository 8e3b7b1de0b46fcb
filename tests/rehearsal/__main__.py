"""`python -m tests.rehearsal [NAME…]`: rehearses models at their true size, one after the other.

What was downloaded is removed after each. Needs network access once, for Qwen's vocabulary.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

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
    """Rehearse, print each step, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--kills", type=int, default=20, help="of each download")
    options = parser.parse_args()
    surroundings.reset()
    folder = Path("runs/rehearsal").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    passed = [rehearse(name, folder, options.kills) for name in options.names or RECIPES]
    return 0 if all(passed) else 1


def rehearse(name: str, folder: Path, kills: int) -> bool:
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
                started = time.monotonic()
                run = subprocess.run(
                    command,
                    env=environment | step.environment,
                    cwd=place.folder,
                    capture_output=True,
                    check=False,
                )
                outcome = Outcome(run.returncode, run.stdout.decode(), run.stderr.decode())
                wrong = failure(step, outcome)
                seconds = time.monotonic() - started
                print(f"{name}: {wrong or step.name}, {seconds:.1f} s", flush=True)
                if wrong is not None:
                    return False
            assert not hub.leaked, "a login was sent to the storage"
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
