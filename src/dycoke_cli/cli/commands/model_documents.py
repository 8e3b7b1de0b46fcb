"""JSON documents of `dycoke models`, which its tables show too."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import ABSENT, Absent, Count, Doc
from dycoke_cli.models import settings
from dycoke_cli.models.catalog import (
    BUNDLED_CHECKPOINT,
    CATALOG,
    STATES,
    Entry,
    ModelRef,
    find,
    recommended,
)
from dycoke_cli.models.devices import (
    BYTES_PER_PARAMETER,
    FreeMemory,
    Target,
    this_machine,
    weight_dtype,
)
from dycoke_cli.models.families import FAMILIES, METHOD_DEFAULTS, defaults_of
from dycoke_cli.models.files.hub import OnDisk, StoredRevision, cached_models
from dycoke_cli.models.files.on_disk import StoredConfig, config_in, dtype_here
from dycoke_cli.models.files.small_files import missing_parts
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import FittedShape, KeptShape
from dycoke_cli.version import __version__

SCHEMA = "dycoke.models/1"


_OF_ESTIMATES = ("frame_text", "clip_text")
"""What an entry has for estimates alone."""


@dataclass(frozen=True)
class MemoryDocument:
    """Memory that is free on this machine."""

    ram_bytes: Annotated[int | None, Doc(minimum=0)]
    gpu_bytes: Annotated[tuple[Count, ...], Doc("Of each NVIDIA GPU.")]


@dataclass(frozen=True)
class Configuration:
    """Sizes in a model's config.json; only what the file has."""

    family: str | None
    dtype: str | None
    text: dict[str, Any]
    vision: dict[str, Any]


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
    dtype: Annotated[
        str | None, Doc("That --dtype auto loads it in where it fits; null where it doesn't.")
    ] = None
    on_disk: OnDisk | None
    layout: Annotated[
        Literal["listed", "found"] | None,
        Doc("Whether its family's layout is in the table, or is found when it is first loaded."),
    ] = None
    prune_layer: Annotated[int | None, Doc("Default of --prune-layer.", minimum=1)]
    positions: Annotated[Literal["kept", "renumbered"] | None, Doc("Default of --positions.")]
    configuration: Annotated[Configuration | Absent | None, Doc("Of `models info`.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """Models, and what this machine has and holds."""

    schema: str = SCHEMA
    version: Version = __version__
    default: Annotated[str, Doc("The model used where none is named.")]
    recommended: Annotated[str | None, Doc("To begin with; null where none fits.")]
    machine: Annotated[MemoryDocument, Doc("Memory that is free, or as given.")]
    states: Annotated[dict[str, str], Doc("Test states, and what each means.")]
    models: tuple[ListedModel, ...]


def all_models(memory: int | None = None) -> ModelList:
    """Document of all models of the catalog, with their state on this machine.

    Args:
        memory: bytes of the device; None for the free memory.
    """
    machine, cached = this_machine().given(memory), cached_models()
    models = [_of_entry(entry, machine, cached) for entry in CATALOG.values()]
    return _document(machine, models)


def one_model(source: ModelRef) -> ModelList:
    """Document of one model, with details."""
    machine, cached = this_machine(), cached_models()
    if source.entry is not None:
        model = _of_entry(source.entry, machine, cached)
        stored = _stored(model.on_disk)
        details = replace(model, configuration=_configuration(stored))
        return _document(machine, [details])
    # Outside the catalog nothing is known but the name, and what the stored files say.
    names = (field.name for field in fields(Entry))
    values: dict[str, Any] = {name: None for name in names if name not in _OF_ESTIMATES}
    values |= {"name": source.name, "repo": None if source.local else source.location}
    folder = Path(source.location) if source.local else None
    on_disk = cached.get(source.location) if folder is None else _folder(folder)
    stored = _stored(on_disk)
    model = ListedModel(
        **values,
        layout=None if stored is None else _layout(stored),
        fits=None,
        dtype=_dtype(source, stored, on_disk, None, machine),
        on_disk=on_disk,
        configuration=_configuration(stored),
        **_method_defaults(None, stored),
    )
    return _document(machine, [model])


def _document(machine: FreeMemory, models: list[ListedModel]) -> ModelList:
    first = recommended(CATALOG.values(), machine)
    return ModelList(
        recommended=None if first is None else first.name,
        default=settings.default_model() or settings.BUNDLED,
        machine=MemoryDocument(machine.ram_bytes, machine.gpu_bytes),
        states=STATES,
        models=tuple(models),
    )


def _of_entry(entry: Entry, machine: FreeMemory, cached: dict[str, OnDisk]) -> ListedModel:
    on_disk = _folder(BUNDLED_CHECKPOINT) if entry.repo is None else cached.get(entry.repo)
    shown = {key: value for key, value in vars(entry).items() if key not in _OF_ESTIMATES}
    fits, stored = entry.fits(machine), _stored(on_disk)
    return ListedModel(
        **shown,
        layout="listed" if entry.family in FAMILIES else "found",
        fits=fits,
        dtype=_dtype(find(entry.name), stored, on_disk, fits, machine),
        on_disk=on_disk,
        **_method_defaults(entry.family, stored),
    )


def _dtype(
    source: ModelRef,
    stored: StoredConfig | None,
    on_disk: OnDisk | None,
    fits: str | None,
    machine: FreeMemory,
) -> str | None:
    """Dtype that `--dtype auto` loads a model in, without asking the hub; None if unknown."""
    target = Target.of("auto", machine)
    if fits == "ram" and target.device == "cuda":
        target = Target("cpu", machine.ram_bytes)
    if fits == "no":
        return None
    if stored is not None and stored.dtype is not None and on_disk is not None and on_disk.complete:
        return dtype_here(source, stored, LoadOptions(), target).name
    entry = source.entry
    if entry is None or entry.parameters is None or target.device != "cpu":
        return None
    # A CPU loads both 16-bit dtypes in the same one, so that it doesn't matter which is stored.
    size = entry.download_bytes or BYTES_PER_PARAMETER * entry.parameters
    whole = size > 1.5 * BYTES_PER_PARAMETER * entry.parameters
    dtype = "float32" if whole else "bfloat16"
    return weight_dtype(LoadOptions(), dtype, lambda: size, cpu=True, free=target.free).name


def _layout(stored: StoredConfig) -> Literal["listed", "found"] | None:
    """Whether the layout is listed or found on loading; None for a model without vision input."""
    if stored.traits().listed:
        return "listed"
    return "found" if stored.vision or "thinker_config" in stored.values else None


def _configuration(stored: StoredConfig | None) -> Configuration | None:
    return None if stored is None else Configuration(**stored.sizes)


def _stored(on_disk: OnDisk | None) -> StoredConfig | None:
    """Configuration of the newest revision."""
    return None if on_disk is None else config_in(Path(on_disk.revisions[0].folder))


def _method_defaults(family_name: str | None, stored: StoredConfig | None) -> dict[str, Any]:
    """Values of `METHOD_DEFAULTS`: of the checkpoint, otherwise of the family, otherwise None."""
    if stored is not None and (traits := stored.traits()).listed:
        return dict(traits.defaults)
    family = FAMILIES.get(family_name or "")
    return dict.fromkeys(METHOD_DEFAULTS) if family is None else defaults_of(family)


def _folder(folder: Path) -> OnDisk:
    """State of a local folder, outside the hub's cache."""
    complete = not missing_parts(folder)
    # Not recursive: a checkpoint's subfolders (such as .git, or other formats) aren't loaded.
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return OnDisk(size, complete, (StoredRevision(None, (), str(folder), complete),))
