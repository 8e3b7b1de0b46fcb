"""What a release is: a source distribution and a wheel, checked and installed on each Python.

`make release` builds both into `dist` from a copy of the tracked files, and ends at the first thing
that is wrong: a file too many or too few, a wheel that isn't, byte for byte, the one that is built
again from the tree, metadata that an index would refuse, a size over the limit. Then each answers
in empty environments (`tests/installs.py`), on each Python that is here, with the newest release of
everything, as README.md says, and with the oldest that is allowed. Beside them lies a bill of
materials (what the wheel brought with it on the newest Python). Nothing is uploaded. What has to be
done by hand before is checked first; with `--dry-run` (`make release DRY_RUN=1`) it is only
printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from dycoke_cli.version import __version__
from tests import turns
from tests.installs import PLACE, PYTHONS, ROOT, Environment, build, find_python, run, uv

DIST = ROOT / "dist"
# Of README.md; in a comment until the first release is on the index.
_INSTALL = re.compile(r"(?:^|(<!-- ).*)\$ pip install (dycoke-cli\S*)", re.MULTILINE)
LARGEST_BYTES = 20_000_000
# What setuptools writes beside the files that it is given.
_WRITTEN = re.compile(r"PKG-INFO|setup\.cfg|src/dycoke_cli\.egg-info/.*")
_BESIDE = {
    "CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml",
}  # fmt: skip


def main() -> None:
    """Build, check and install; the first thing that is wrong ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="such as 3.12; repeat it for several")
    parser.add_argument("--dry-run", action="store_true", help="whatever has to be done before")
    options = parser.parse_args()
    if missing := not_ready():
        print("Before the release:", *missing, sep="\n", file=sys.stderr)
        if not options.dry_run:
            sys.exit(1)
    sdist, wheel = build_both()
    check(sdist, wheel)
    for version in options.python or PYTHONS:
        python = find_python(version)
        if python is None:
            print(f"NOT TESTED: Python {version}, which isn't on this machine", flush=True)
            continue
        for file in (wheel, sdist):
            for oldest in (False, True):
                print(f"{file.name} on {version}, {'oldest' if oldest else 'newest'}", flush=True)
                here = Environment(PLACE / f"release-{version}", python)
                if oldest:
                    here.install_oldest(file)
                elif file is sdist:
                    here.install_anew(file)
                else:
                    here.install_anew("--find-links", DIST, to_install()[1])
                    check_shared(here)
                    list_materials(here, wheel)
                here.answer()
                shutil.rmtree(here.folder)
    print(f"In {DIST}: {sdist.name}, {wheel.name}")


def not_ready(root: Path = ROOT) -> list[str]:
    """What somebody has to do before this version can be released, a sentence each."""
    table = (root / turns.TABLE.relative_to(ROOT)).read_text("utf-8")
    found = turns.stale(turns.read(table), root)
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    dated = rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(dated, changes, re.MULTILINE):
        found.append(f"CHANGELOG.md has no date for {__version__}: write the day of the upload")
    if to_install(root)[0]:
        found.append("README.md has the command that installs a release in a comment: uncomment it")
    return found


def to_install(root: Path = ROOT) -> tuple[bool, str]:
    """What README.md has pip install from the index, and whether it stands in a comment."""
    ((comment, requirement),) = _INSTALL.findall((root / "README.md").read_text("utf-8"))
    return bool(comment), requirement


def build_both() -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    # Times in archives are that of the commit, wherever and whenever they are built.
    committed = subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True)
    os.environ["SOURCE_DATE_EPOCH"] = committed.strip()
    with tempfile.TemporaryDirectory() as copy:
        for name in tracked():
            (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, Path(copy) / name)
        command = ("-m", "build", "--no-isolation", "--outdir", DIST, copy)
        run(sys.executable, *command, cwd=ROOT, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def tracked(*under: str) -> list[str]:
    """The files of the repository, or of a folder of it."""
    listed = subprocess.check_output(["git", "ls-files", "-z", *under], cwd=ROOT, text=True)
    return listed.split("\0")[:-1]


def check(sdist: Path, wheel: Path) -> None:
    """Check what is inside."""
    with tarfile.open(sdist) as opened:
        files = {one.name.partition("/")[2] for one in opened if one.isfile()}
    ours = {name for name in files if not _WRITTEN.fullmatch(name)}
    if different := ours ^ {*_BESIDE, *tracked("src")}:
        raise SystemExit(f"{sdist.name} has too much or too little: {sorted(different)}")
    data = f"{'-'.join(wheel.name.split('-')[:2])}.data/data"
    if missing := {f"{data}/{place}" for place in shared()} - {*_content(wheel)}:
        raise SystemExit(f"{wheel.name} lacks {sorted(missing)}")
    other = build(PLACE / "wheel")
    if other.read_bytes() != wheel.read_bytes():
        different = {name for name, _ in _content(other).items() ^ _content(wheel).items()}
        raise SystemExit(
            f"{wheel.name}, built from {sdist.name}, differs from one of the tree: "
            f"{sorted(different) or 'in its times, modes or order'}"
        )
    print(f"{wheel.name}: SHA-256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}, built twice")
    for file in (sdist, wheel):
        size = file.stat().st_size
        print(f"{file.name}: {size / 1e6:.1f} MB")
        if size > LARGEST_BYTES:
            raise SystemExit(f"{file.name} is larger than {LARGEST_BYTES / 1e6:.0f} MB")
    uv("tool", "run", "--quiet", "twine", "check", "--strict", sdist, wheel)


def list_materials(here: Environment, wheel: Path) -> None:
    """Write a bill of materials (CycloneDX) beside the wheel: all that is installed with it."""
    file = DIST / f"{wheel.name.removesuffix('-py3-none-any.whl')}.cdx.json"
    command = ("cyclonedx-py", "environment", "--output-reproducible", "--output-file", file)
    uv("tool", "run", "--quiet", "--from", "cyclonedx-bom", *command, here.program("python"))


def check_shared(here: Environment) -> None:
    """Check that what is installed is this release, with its man page and completions."""
    python, root = here.program("python"), here.folder / "venv"
    asked = "import importlib.metadata as m, sys; sys.exit(m.version('dycoke-cli') != sys.argv[1])"
    run(python, "-c", asked, __version__, cwd=here.folder)
    for place in shared():
        if not (root / place).stat().st_size:
            raise SystemExit(f"{place} is empty")
    completion = next(place for place in shared() if "bash" in place)
    run("bash", "-n", root / completion, cwd=here.folder)


def shared() -> list[str]:
    """Where an installer puts what shells and `man` look for."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    return [f"{at}/{Path(file).name}" for at, of in found["data-files"].items() for file in of]


def _content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


if __name__ == "__main__":
    main()
