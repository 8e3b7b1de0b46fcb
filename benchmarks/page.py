"""Measured tables in pages: where they were measured, and how they get between their markers."""

from __future__ import annotations

import platform
from pathlib import Path

from dycoke_cli.kernels.processor import instructions, processor_name
from dycoke_cli.resources import usable_cpus
from dycoke_cli.version import running_commit

ROOT = Path(__file__).parents[1]


def where() -> str:
    """Commit, cores, processor and Python version, as a sentence."""
    return f"Commit {running_commit() or 'unknown'}, {machine()}."


def machine() -> str:
    """Cores, processor and Python version."""
    return f"{cores()}, Python {platform.python_version()}"


def cores() -> str:
    """Cores and processor, with the last of its instructions: of one name some have more."""
    known, number = instructions(), usable_cpus()
    several = "s" if number > 1 else ""
    return f"{number} core{several} of {processor_name()}{f' ({known[-1]})' if known else ''}"


def put(measured: str, name: str, page: Path) -> None:
    """Puts a table between the markers `<!-- name: … -->` and `<!-- /name -->` of a page."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {name}: ")
    command, _, rest = rest.partition(" -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise SystemExit(
            f"{page} has no place for the table: <!-- {name}: … --> … <!-- /{name} -->"
        )
    page.write_text(f"{before}{begin}{command} -->\n{measured}\n{end}{after}", encoding="utf-8")
