"""The tables of `dycoke doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import size
from dycoke_cli.cli.text import one_line

if TYPE_CHECKING:
    from dycoke_cli.cli.doctor_document import Diagnosis, TimedKernels

_UNMEASURED = "not measured yet (the first load of a model of 100 M parameters or more does that)"


def doctor(found: Diagnosis) -> RenderableType:
    """What this machine and this installation are."""
    table = named((name, one_line(value)) for name, value in _rows(found))
    return Group(table, Text(), _kernels(found.kernels)) if found.kernels else table


def _rows(found: Diagnosis) -> Iterator[tuple[str, str]]:
    cpus, free = found.cpus, found.free_memory_bytes
    yield "dycoke", found.version + (f" ({found.commit})" if found.commit else "")
    yield "Python", found.python
    for name, release in found.packages.items():
        yield name, release or "not installed"
    yield from zip(["Untested", *[""] * len(found.untested)], found.untested, strict=False)
    yield "Extras", ", ".join(f"{n}{'' if here else ' (no)'}" for n, here in found.extras.items())
    yield "Device", found.device + "".join(f", {name}" for name in found.gpus)
    yield "Processor", found.processor
    yield "Instructions", ", ".join(found.instructions) or "unknown"
    yield (
        "CPUs",
        f"{cpus.usable} of {cpus.logical} usable"
        + (f" (affinity: {', '.join(map(str, cpus.affinity))})" if cpus.affinity else "")
        + f", {cpus.threads} threads",
    )
    yield "Free memory", "unknown" if free is None else size(free)
    yield "Kernels", (found.kernels_file or "not kept") if found.kernels else _UNMEASURED


def _kernels(timed: tuple[TimedKernels, ...]) -> Table:
    names = dict.fromkeys(name for each in timed for name in each.milliseconds)
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title="Milliseconds")
    table.add_column("shape", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fastest", no_wrap=True)
    for each in timed:
        cells = [f"{each.milliseconds[n]:.3g}" if n in each.milliseconds else "" for n in names]
        table.add_row(Text(each.shape), *cells, each.fastest)
    return table
