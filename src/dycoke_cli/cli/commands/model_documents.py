"""JSON documents of `dycoke models`, and the tables that show them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import ABSENT, Absent, Doc
from dycoke_cli.cli.commands.estimate import spelled
from dycoke_cli.cli.flags.param_flags import flag
from dycoke_cli.cli.render.figures import Column, as_text, named, table
from dycoke_cli.cli.render.units import count, size
from dycoke_cli.models.catalog import CATALOG, STATES, Entry, FittedShape, KeptShape, ModelRef, find
from dycoke_cli.models.devices import FreeMemory, this_machine
from dycoke_cli.models.families import FAMILIES, METHOD_DEFAULTS, ModelInfo, defaults_of
from dycoke_cli.models.files.hub import OnDisk, cached_models, config_in
from dycoke_cli.models.files.small_files import is_complete
from dycoke_cli.models.load_options import BUNDLED, default_model
from dycoke_cli.unicode import one_line
from dycoke_cli.version import __version__

SCHEMA = "dycoke.models/1"


_OF_ESTIMATES = ("frame_text", "clip_text")
"""What an entry has for estimates alone."""


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A model; null where a value isn't known before it is loaded."""

    name: str
    repo: Annotated[str | None, Doc("On the model hub.")]
    family: Annotated[str | None, Doc("`model_type` of its configuration.")]
    parameters: Annotated[int | None, Doc(minimum=0)]
    download_bytes: Annotated[int | None, Doc("Size of its weight files.", minimum=0)]
    tokens_per_frame: Annotated[
        int | None, Doc("Visual tokens per frame before compression, where fixed.", minimum=0)
    ]
    shape: Annotated[
        KeptShape | FittedShape | None,
        Doc("How the tokens of a frame follow from its shape, where they do."),
    ]
    state: Annotated[str | None, Doc("Test state: a key of `states`.")]
    note: str | None
    fits: Annotated[
        str | None, Doc("Where its weights fit, by size.", enum=["gpu", "ram", "no", None])
    ]
    seconds: Annotated[
        float | Absent | None,
        Doc("With --fits, of an answer about 32 frames of 640 × 360 here, about.", minimum=0),
    ] = ABSENT
    on_disk: OnDisk | None
    layout: Annotated[
        Literal["listed", "found"] | None,
        Doc("Whether its family's layout is in the table, or is found when it is loaded."),
    ] = None
    prune_layer: Annotated[int | None, Doc("Default of --prune-layer.", minimum=1)]
    positions: Annotated[Literal["kept", "renumbered"] | None, Doc("Default of --positions.")]


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """Models, and what this machine has and holds."""

    schema: str = SCHEMA
    version: Version = __version__
    default: Annotated[str, Doc("The model used where none is named.")]
    machine: Annotated[FreeMemory, Doc("Memory that is free.")]
    states: Annotated[dict[str, str], Doc("Test states, and what each means.")]
    models: tuple[ListedModel, ...]


def all_models() -> ModelList:
    """Document of all models of the catalog, with their state on this machine."""
    machine, cached = this_machine(), cached_models()
    return _document(machine, [_listed(find(name), machine, cached) for name in CATALOG])


def one_model(source: ModelRef) -> ModelList:
    """Document of one model, with details."""
    machine = this_machine()
    return _document(machine, [_listed(source, machine, cached_models())])


def _document(machine: FreeMemory, models: list[ListedModel]) -> ModelList:
    return ModelList(
        default=default_model() or BUNDLED,
        machine=machine,
        states=STATES,
        models=tuple(models),
    )


def _listed(source: ModelRef, machine: FreeMemory, cached: dict[str, OnDisk]) -> ListedModel:
    entry, folder = source.entry, Path(source.location) if source.local else None
    # Outside the catalog nothing is known but the name, and what the stored files say.
    names = (field.name for field in fields(Entry) if field.name not in _OF_ESTIMATES)
    values: dict[str, Any] = {name: getattr(entry, name, None) for name in names}
    values |= {"name": source.name, "repo": source.location if folder is None else None}
    on_disk = cached.get(source.location) if folder is None else _folder(folder)
    stored = None if on_disk is None else config_in(Path(on_disk.folder))
    if entry is None and stored is not None:
        values["family"] = stored.values.get("model_type")
    return ListedModel(
        **values,
        layout=_layout(entry, stored),
        fits=None if entry is None else entry.fits(machine),
        on_disk=on_disk,
        **_method_defaults(None if entry is None else entry.family, stored),
    )


def _layout(entry: Entry | None, stored: ModelInfo | None) -> Literal["listed", "found"] | None:
    """Whether the layout is listed or found on loading; None for a model without vision input."""
    if entry is not None:
        return "listed" if entry.family in FAMILIES else "found"
    if stored is None or stored.listed:
        return None if stored is None else "listed"
    return "found" if {"vision_config", "thinker_config"} & stored.values.keys() else None


def _method_defaults(family_name: str | None, stored: ModelInfo | None) -> dict[str, Any]:
    """Values of `METHOD_DEFAULTS`: of the checkpoint, otherwise of the family, otherwise None."""
    if stored is not None and stored.listed:
        return dict(stored.defaults)
    family = FAMILIES.get(family_name or "")
    return dict.fromkeys(METHOD_DEFAULTS) if family is None else defaults_of(family)


def _folder(folder: Path) -> OnDisk:
    """State of a local folder, outside the hub's cache."""
    # Not recursive: a checkpoint's subfolders (such as .git, or other formats) aren't loaded.
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return OnDisk(size, is_complete(folder), None, str(folder))


UNKNOWN = "?"
BILLION = 1e9
"""Unit of the list: billions of parameters, and GB."""

_OF_TIMES = (
    "A clip: about how long a question about 32 frames of 640 × 360 takes here, with an answer of "
    "128 tokens, by the rates of matrix products; – where it isn't known before a download."
)

_FITS = {"gpu": "GPU", "ram": "RAM", "no": "no", None: UNKNOWN}


_LAYOUTS = {"listed": "listed", "found": "found when the model is loaded", None: UNKNOWN}


def models_table(document: ModelList) -> Group:
    """List of models, with the default marked; with seconds in place of what is on disk."""
    timed = any(model.seconds is not ABSENT for model in document.models)
    made = table(
        document.models,
        (
            Column("", lambda model: "*" if model.name == document.default else None, as_text),
            Column("Name", lambda model: model.name, as_text),
            Column("Size", lambda model: _parameters(model.parameters, BILLION)),
            Column("Download", lambda model: _download(model, BILLION)),
            Column("A clip", _time) if timed else Column("On disk", _held),
            Column("Fits", lambda model: _FITS[model.fits], as_text),
            Column("State", lambda model: model.state or UNKNOWN, as_text),
        ),
    )
    default = document.default
    chosen = "* the default" if default in CATALOG else f"Default: {one_line(default)}"
    states = "; ".join(f"{state}: {meaning}" for state, meaning in document.states.items())
    lines = [
        f"{chosen}: DYCOKE_MODEL in the environment names another; `info NAME` shows one.",
        f"Size in parameters. Fits: {_free(document.machine)}.",
        f"State: {states}.",
        *([_OF_TIMES] if timed else []),
    ]
    return Group(made, *(Text(line, style="dim") for line in lines))


def model_table(document: ModelList) -> Table:
    """Table with the details of one model."""
    return named((name, one_line(value)) for name, value in _rows(document))


def _free(machine: FreeMemory) -> str:
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
        ("Family", model.family or UNKNOWN),
        ("Layout", _LAYOUTS[model.layout]),
        ("Size", f"{_parameters(model.parameters)} parameters"),
        ("Download", _download(model)),
        ("On disk", _places(model.on_disk)),
        ("Fits", f"{_FITS[model.fits]}: {_free(document.machine)}"),
        ("Visual tokens", _tokens(model)),
        ("Defaults", _defaults(model)),
        ("State", f"{model.state}: {document.states[model.state]}" if model.state else UNKNOWN),
    ]


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


def _time(model: ListedModel) -> str:
    return spelled(model.seconds) if isinstance(model.seconds, float) else "–"


def _places(on_disk: OnDisk | None) -> str:
    if on_disk is None:
        return "no; `dycoke models pull` downloads it"
    whole = "" if on_disk.complete else " (not all of it)"
    return f"{size(on_disk.bytes)} in {on_disk.folder}{whole}"


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
