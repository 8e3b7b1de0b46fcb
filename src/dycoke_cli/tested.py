"""Which installed releases lie outside what was tested."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

_PYTHON = "Programming Language :: Python :: "


def untested() -> Iterator[str]:
    """A sentence for each release, Python's included, that is older or newer than was tested."""
    pythons, oldest = [], {}
    with suppress(PackageNotFoundError):  # a folder of sources says neither
        about = metadata("dycoke-cli")
        classifiers = about.get_all("Classifier", [])
        pythons = [c.removeprefix(_PYTHON) for c in classifiers if c.startswith(_PYTHON)]
        oldest = {r.name: r for r in map(Requirement, about.get_all("Requires-Dist", []))}
    here = platform.python_version()
    if pythons and Version(here).release[:2] > Version(pythons[-1]).release:
        yield f"Python {here} is newer than {pythons[-1]}, the newest that was tested"
    for name, newest in _newest().items():
        with suppress(PackageNotFoundError):
            installed = Version(Version(version(name)).public)  # 2.15.0+cpu is a build of 2.15.0
            allowed = oldest.get(name)
            if allowed and not allowed.specifier.contains(installed, prereleases=True):
                yield f"{name} {installed} isn't supported: {allowed.specifier}"
            elif installed > newest:
                yield f"{name} {installed} is newer than {newest}, the newest that was tested"


def _newest() -> dict[str, Version]:
    """The newest release of each package that the tests ran with, on this Python."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        pin.name: Version(next(iter(pin.specifier)).version)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }
