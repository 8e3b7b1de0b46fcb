"""Tables of `dycoke models` and `dycoke models info`."""

from __future__ import annotations

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.cli.commands.model_documents import (
    Configuration,
    ListedModel,
    MemoryDocument,
    ModelList,
)
from dycoke_cli.cli.flags.param_flags import flag
from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import count, size
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.families import METHOD_DEFAULTS
from dycoke_cli.models.files.hub import OnDisk
from dycoke_cli.unicode import one_line

UNKNOWN = "?"
_COLUMNS = ("Name", "Size", "Download", "On disk", "Fits", "State")
_RIGHT = ("Size", "Download", "On disk")

BILLION = 1e9
"""Unit of the list: billions of parameters, and GB."""

_FITS = {"gpu": "GPU", "ram": "RAM", "no": "no", None: UNKNOWN}


_LAYOUTS = {
    "listed": "listed",
    "found": "found when the model is first loaded",
    None: UNKNOWN,
}


def models_table(document: ModelList, hidden: int = 0, *, memory: str | None = None) -> Group:
    """List of models, with the default and the recommended one marked.

    Args:
        hidden: number of models that aren't listed. If there are any, notes are omitted.
        memory: that was given to fit into; None for what is free.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in _COLUMNS:
        justify: Literal["left", "right"] = "right" if name in _RIGHT else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for model in document.models:
        table.add_row(*_row(model, document))
    if hidden:
        lines = [f"{hidden} more: `dycoke models --all`. Search: `dycoke models WORD`; --fits."]
        lines += [*_marks(document), f"Fits: {_free(document.machine, memory)}."]
    else:
        lines = [*_notes(document), *_marks(document), *_legend(document, memory)]
    return Group(table, *(Text(line, style="dim") for line in lines))


def _row(model: ListedModel, document: ModelList) -> tuple[str | Text, ...]:
    marks = {document.recommended: "> ", document.default: "* "}
    return (
        Text(marks.get(model.name, "  ") + model.name),
        _parameters(model.parameters, BILLION),
        _download(model, BILLION),
        _held(model),
        _FITS[model.fits],
        model.state or UNKNOWN,
    )


def model_table(document: ModelList) -> Table:
    """Table with the details of one model."""
    return named((name, one_line(value)) for name, value in _rows(document))


def _notes(document: ModelList) -> list[str]:
    """Notes, each with the names of its models."""
    names: dict[str, list[str]] = {}
    for model in document.models:
        if model.note is not None:
            names.setdefault(model.note, []).append(model.name)
    return [f"{', '.join(models)}: {note}." for note, models in names.items()] + [""]


def _marks(document: ModelList) -> list[str]:
    default, first = document.default, document.recommended
    chosen = "* the default" if default in CATALOG else f"Default: {one_line(default)}"
    lines = [f"{chosen}: `dycoke models default NAME` sets another; `info NAME` shows one."]
    if first is not None and first != default:
        lines.append(f"> recommended for real videos: `dycoke models default {first}`.")
    return lines


def _legend(document: ModelList, memory: str | None) -> list[str]:
    states = "; ".join(f"{state}: {meaning}" for state, meaning in document.states.items())
    return [
        f"Size in parameters. Fits: {_free(document.machine, memory)}.",
        f"State: {states}.",
    ]


def _free(machine: MemoryDocument, memory: str | None = None) -> str:
    if memory is not None:
        return f"weights plus 20 % in {one_line(memory)}"
    ram = "unknown" if machine.ram_bytes is None else size(machine.ram_bytes)
    gpus = [f"{size(free)} on a GPU" for free in machine.gpu_bytes]
    free = " and ".join([f"{ram} of RAM", *gpus])
    return f"weights plus 20 % in the memory that is free now ({free})"


def _rows(document: ModelList) -> list[tuple[str, str]]:
    (model,) = document.models
    return [
        ("Name", model.name),
        ("Repository", model.repo or "–"),
        ("Note", model.note or "not in the catalog"),
        ("Family", model.family or _stored_family(model) or UNKNOWN),
        ("Layout", _LAYOUTS[model.layout]),
        ("Size", f"{_parameters(model.parameters)} parameters"),
        ("Download", _download(model)),
        ("On disk", _places(model.on_disk)),
        ("Fits", f"{_FITS[model.fits]}: {_free(document.machine)}"),
        ("Loaded in", model.dtype or UNKNOWN),
        ("Visual tokens", _tokens(model)),
        ("Defaults", _defaults(model)),
        ("State", _state(model.state, document.states)),
        *_configured(model.configuration),
    ]


def _stored_family(model: ListedModel) -> str | None:
    configuration = model.configuration
    return configuration.family if isinstance(configuration, Configuration) else None


def _parameters(number: int | None, largest: float | None = None) -> str:
    if number is None:
        return UNKNOWN
    if (largest or number) < 1e9:
        return f"{number / 1e6:.3g} M"
    return f"{round(number / 1e9, 3):.3g} B"


def _download(model: ListedModel, largest: float | None = None) -> str:
    if model.download_bytes is None:
        return UNKNOWN
    return size(model.download_bytes, largest) if model.download_bytes else "bundled"


def _held(model: ListedModel) -> str:
    on_disk = model.on_disk
    if on_disk is None:
        return "–"
    held = size(on_disk.bytes, BILLION)
    return held if on_disk.complete else f"part, {held}"


def _places(on_disk: OnDisk | None) -> str:
    if on_disk is None:
        return "no; `dycoke models pull` downloads it"
    places = []
    for revision in on_disk.revisions:
        names = ", ".join(revision.names)
        commit = f" {revision.commit[:12]}" if revision.commit else ""
        whole = "" if revision.complete else " (not all of it)"
        places.append(f"{revision.folder}{commit}{f' ({names})' if names else ''}{whole}")
    return f"{size(on_disk.bytes)} in {'; '.join(places)}"


def _tokens(model: ListedModel) -> str:
    if model.tokens_per_frame is not None:
        return f"{count(model.tokens_per_frame)} per frame"
    shape = model.shape
    if shape is None:
        return f"{UNKNOWN}; `dycoke probe VIDEO --model NAME` counts them"
    return (
        f"one per {shape.side} × {shape.side} pixels; `dycoke probe VIDEO --model NAME` counts them"
    )


def _defaults(model: ListedModel) -> str:
    defaults = {name: getattr(model, name) for name in METHOD_DEFAULTS}
    if None in defaults.values():
        return UNKNOWN
    return " ".join(f"{flag(name)} {value}" for name, value in defaults.items())


def _state(state: str | None, states: dict[str, str]) -> str:
    return UNKNOWN if state is None else f"{state}: {states[state]}"


def _configured(configuration: Configuration | Absent | None) -> list[tuple[str, str]]:
    if not isinstance(configuration, Configuration):
        return []
    rows = [("Stored in", configuration.dtype or UNKNOWN)]
    parts = (configuration.text, "Language model"), (configuration.vision, "Vision encoder")
    for sizes, name in parts:
        values = [f"{key} {value}" for key, value in sizes.items()]
        rows.append((name, ", ".join(values) or UNKNOWN))
    return rows
