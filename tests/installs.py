"""The package as users install it: its wheel, in fresh environments, from pyproject.toml alone.

`python -m tests.installs newest` installs the newest release of everything on each Python, `oldest`
the oldest that pyproject.toml allows on the oldest Python, and with `--transformers 5.19.0` the
oldest beside that release of transformers; `extras` the newest with all that is optional. Each
environment answers in an empty folder, then runs tests against what is installed; a Python between
the oldest and the newest does so only where `--python` names it. uv installs, from where pip would;
an environment of its making has no pip. One in which something failed stays in runs/installs.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from tests.turns import ROOT, SKIPPED

PLACE = ROOT / "runs" / "installs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_CLASSIFIER = "Programming Language :: Python :: "
PYTHONS = [
    text.removeprefix(_CLASSIFIER)
    for text in PROJECT["classifiers"]
    if text.startswith(_CLASSIFIER)
]
EXTRAS = [*PROJECT["optional-dependencies"]]
VIDEO = ROOT / "sample_videos" / "move.mp4"
# Of the package on this Python and with these releases; not of the checkout, its pages and tools,
# and not of arithmetic that is alike on each.
LEFT_OUT = (
    "bench", "benchmarks", "compression", "shapes", "test_architecture.py",
    "test_contributing.py", "test_fuzz.py",
    "test_page_commands.py", "test_release.py",
    "test_soak.py", "test_tour.py", "test_turns.py",
)  # fmt: skip
FAST = [
    *("-p", "tests.quick", "--seconds-per-file", "0.1", "-m", "not slow"),
    *(f"--ignore=tests/{name}" for name in LEFT_OUT),
    "tests",
]
# What a new release of transformers has that nothing here knows.
NEW_FAMILIES = [
    "tests/families/test_unlisted.py::test_the_matrix_has_each_family_that_transformers_has"
]
# Of the packages that are optional, with no stand-ins: the extras', lmms-eval, and llm, a client of
# `dycoke serve`.
WITH_EXTRAS = [
    "tests/kernels/test_bitsandbytes.py", "tests/models/test_devices.py", "tests/runs/ray",
    "tests/cli/commands/test_eval_engines.py", "tests/evaluation/scoring/test_judge.py",
    "tests/cli/commands/test_eval_judge.py", "tests/cli/commands/test_batch_server.py",
    "tests/evaluation/test_datasets.py", "tests/evaluation/test_refused_annotations.py",
    "tests/server/test_page.py", "plugins/lmms_eval/tests",
    "tests/models/test_heard_speech.py",
]  # fmt: skip
PLUGIN = ROOT / "plugins" / "lmms_eval"
# What is imported is compiled once, and not by each process.
_UNSET = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
# Settings of pip, and the variables that tell uv the same.
_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def main() -> None:
    """Install and test; the first command that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("newest", "oldest", "extras"))
    parser.add_argument("--python", action="append", help="such as 3.12; repeat it for several")
    parser.add_argument("--transformers", help="with `oldest`: its release, such as 5.19.0")
    options, tests = parser.parse_known_args()
    which = options.which
    wheel = build(PLACE / "wheel")
    versions = options.python or (PYTHONS if which == "newest" else PYTHONS[:1])
    if not any(map(find_python, versions)):
        print(f"NOT TESTED: none of Python {', '.join(versions)} is on this machine")
        sys.exit(SKIPPED)
    for version in versions:
        python = find_python(version)
        if python is None:
            print(f"NOT TESTED: Python {version}, which isn't on this machine", flush=True)
            continue
        begun = time.monotonic()
        here = Environment(PLACE / f"{which}-{version}", python)
        if which == "oldest":
            here.install_oldest(wheel, options.transformers)
        else:
            here.install_anew(wheel)
        if which == "extras":
            here.install(f"dycoke-cli[{','.join(EXTRAS)}] @ {wheel.as_uri()}", PLUGIN, "llm")
            # It asks for too old an av, and imports a private part of filelock that 4.3 hasn't.
            here.install("--no-deps", "lmms-eval", "filelock<4.3")
        here.answer()
        if options.python or version in (PYTHONS[0], PYTHONS[-1]):
            here.test(wheel, tests or (WITH_EXTRAS if which == "extras" else FAST))
            if which == "newest":
                here.test(wheel, NEW_FAMILIES)
        shutil.rmtree(here.folder)
        print(f"Python {version}, {which}: {time.monotonic() - begun:.0f} s", flush=True)


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip, and an empty folder in which its programs run."""

    folder: Path
    made_of: Path

    def install_anew(self, *what: str | Path) -> None:
        """Make the environment, and install a wheel in it, or what else pip would."""
        shutil.rmtree(self.folder, ignore_errors=True)
        uv("venv", "--quiet", "--python", self.made_of, self.folder / "venv")
        (self.folder / "empty").mkdir()
        self.install(*what)

    def install_oldest(self, wheel: Path, transformers: str | None = None) -> None:
        """Install the oldest releases that the package and its extras allow, then the wheel."""
        extras = [word for name in EXTRAS for word in ("--extra", name)]
        optional = (text for name in EXTRAS for text in PROJECT["optional-dependencies"][name])
        asked = [Requirement(text) for text in (*PROJECT["dependencies"], *optional)]
        wheels = [word for one in asked for word in ("--only-binary", one.name)]
        pinned = [f"transformers=={transformers}"] if transformers else []
        if not pinned and self.made_of.name.endswith(PYTHONS[0]):
            # Each bound is a release that there is. A later Python may have no wheel of it.
            pinned = [f"{one.name}=={bound.version}" for one in asked for bound in one.specifier]
        lowest = ("--resolution", "lowest-direct", "-r", ROOT / "pyproject.toml", *extras)
        self.install_anew(*lowest, *wheels, *pinned)
        self.install("--no-deps", wheel)

    def answer(self) -> None:
        """Do what a user does first, in the environment of nobody."""
        empty = self.folder / "empty"
        path = os.pathsep.join((str(self.program("python").parent), os.defpath))
        nobody = {"HOME": str(empty), "PATH": path, "LANG": "C.UTF-8"}
        for command in (["demo"], ["ask", VIDEO, "What does the blue star do?"], ["doctor"]):
            run("dycoke", *command, cwd=empty, environment=nobody)

    def test(self, wheel: Path, tests: Sequence[str]) -> None:
        """Run tests of the checkout against the package that is installed here."""
        self.install(f"dycoke-cli[dev] @ {wheel.as_uri()}")
        where = "import dycoke_cli, sys; sys.exit(not dycoke_cli.__file__.startswith(sys.prefix))"
        run(self.program("python"), "-c", where, cwd=ROOT)
        workers = ["-p", "tests.workers", "--workers", str(os.cpu_count())]
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *workers]
        # Tests that run a program look for it as a shell would.
        path = os.pathsep.join((str(self.program("python").parent), os.environ["PATH"]))
        environment = {**of_pip(), **os.environ, "PATH": path}
        run(self.program("python"), *pytest, *tests, cwd=ROOT, environment=environment)

    def install(self, *what: str | Path) -> None:
        """Install it, with the newest release of what it needs, beside what is there."""
        uv("pip", "install", "--quiet", "--python", self.program("python"), *what)

    def program(self, name: str) -> Path:
        return self.folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / name


def build(folder: Path) -> Path:
    """Build the wheel into a folder, from a copy, so that nothing is left in the tree."""
    with tempfile.TemporaryDirectory() as copy:
        ignored = shutil.ignore_patterns("*.egg-info")
        shutil.copytree(ROOT / "src", Path(copy, "src"), ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        uv("build", "--quiet", "--wheel", "--clear", "--out-dir", folder, copy)
    (wheel,) = folder.glob("*.whl")
    return wheel


def find_python(version: str) -> Path | None:
    """A Python such as "3.12": of the PATH, or one that pyenv installed."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in (shutil.which(name), *sorted(pyenv.glob(f"{version}.*/bin/{name}"))):
        # pyenv puts programs on the PATH that only say which Python to choose.
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return Path(path)
    return None


def of_pip() -> dict[str, str]:
    """The settings of pip, as variables for uv."""
    listed = [sys.executable, "-m", "pip", "config", "list"]
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1"}  # pip's own ways
    for line in subprocess.check_output(listed, text=True).splitlines():
        key, _, value = line.partition("=")
        if variable := _SETTINGS.get(key.rpartition(".")[2]):
            told[variable] = ast.literal_eval(value)
    return told


def uv(*arguments: str | Path) -> None:
    """Run uv, with the settings of pip; where it fails, end with its exit code."""
    run(sys.executable, "-m", "uv", *arguments, cwd=ROOT, environment={**of_pip(), **os.environ})


def run(
    *command: str | Path,
    cwd: Path,
    environment: Mapping[str, str] = os.environ,
    stdout: int | None = None,
) -> None:
    """Run a command; where it fails, end with its exit code."""
    clean = {k: v for k, v in environment.items() if k not in _UNSET} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=clean, stdout=stdout, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
