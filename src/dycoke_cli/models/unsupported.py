"""Why a family can't be loaded here, and any exception as a `DycokeError` of one sentence."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import transformers
from packaging.version import InvalidVersion, Version
from transformers import CONFIG_MAPPING

from dycoke_cli import plugins
from dycoke_cli.errors import (
    DEBUG,
    DycokeError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    UsageError,
)
from dycoke_cli.extras import how_to_upgrade, need
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.files.small_files import CONFIG, brief, read_json
from dycoke_cli.unicode import display_name

# Error of `tempfile`, which torch calls at import.
_NO_TEMPORARY_FOLDER = "No usable temporary directory"
_NOT_MAPPED = ("failed to map segment", "annot allocate memory", "annot create shared object")


def explain(error: BaseException) -> DycokeError:
    """Convert `error` to the `DycokeError` that is reported to the user."""
    if isinstance(error, DycokeError):
        return error
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return OutOfMemoryError(
            "memory ran out; use fewer --frames, a larger --merge-ratio or a smaller --model"
        )
    # The linker's words, of libraries that are loaded under a limit of address space.
    if isinstance(error, ImportError) and any(text in str(error) for text in _NOT_MAPPED):
        return OutOfMemoryError(
            "memory ran out while libraries were loaded; raise the limit of address space "
            "(ulimit -v), or end other programs"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return OutputError(f"the disk is full{where}; free some space and run it again")
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY_FOLDER in str(error):
        return OutputError(
            "there is no folder for temporary files; set TMPDIR to a folder that can be written"
        )
    if isinstance(error, FileNotFoundError) and not has_current_folder():
        return UsageError("the current folder was deleted: `cd` to another one, and run it again")
    text = " ".join(str(error).split())[:300]
    if (place := plugins.place_of(error)) is not None:
        return DycokeError(f"{display_name(place)} failed: {type(error).__name__}: {text}")
    return DycokeError(
        f"something unexpected went wrong ({type(error).__name__}: {text}); "
        f"run it again with {DEBUG}=1 in the environment to see where"
    )


def has_current_folder() -> bool:
    """Whether the current folder still exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _is_torch_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:  # importing it takes a second, and it can't have raised
        return False
    from dycoke_cli.models.devices import is_out_of_memory

    return is_out_of_memory(error)


# Families whose repositories contain code, and where the same models are in stock format.
_STOCK_REPOSITORIES = {
    "internvl_chat": "the repository of the same name that ends in -hf",
    "videollama3_qwen2": "lkhl/VideoLLaMA3-2B-Image-HF or lkhl/VideoLLaMA3-7B-Image-HF",
}
_ANY_STOCK_REPOSITORY = "one of the same model in transformers' format; its name often ends in -hf"
# Families whose stock processor or vision tower imports another package: (package, our extra).
_EXTRAS = {"perception_lm": ("timm", "perception"), "smolvlm": ("num2words", "smolvlm")}


def check_known(name: str, folder: Path) -> None:
    """Check that transformers has a class for a checkpoint."""
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise ModelError(f"the config.json of {name} names a model_type that isn't text")
    check_release(name, kind)
    if kind in CONFIG_MAPPING:
        return
    if kind is None:
        raise ModelError(f"the config.json of {name} names no model_type, so it can't be loaded")
    installed = transformers.__version__
    if kind in _STOCK_REPOSITORIES or "auto_map" in config:
        stock = _STOCK_REPOSITORIES.get(kind, _ANY_STOCK_REPOSITORY)
        raise ModelError(f"{name} needs code from its repository, which is never run; take {stock}")
    stored_by = config.get("transformers_version")
    if stored_by is not None and _newer(str(stored_by), installed):
        raise ModelError(
            f"{name} is of the family {brief(kind)} and was stored by transformers "
            f"{str(stored_by)[:60]}; {installed} is installed and doesn't know it: "
            f"{how_to_upgrade('transformers')}"
        )
    raise ModelError(
        f"{name} is of the family {brief(kind)}, which transformers {installed} doesn't know and "
        "which isn't supported; `dycoke models` lists models that are"
    )


def check_release(name: str, model_type: str | None) -> None:
    """Check that the installed transformers can run a listed family; others always pass."""
    release = needed_release(model_type)
    if release is not None:
        raise ModelError(
            f"{name} is of the family {model_type!r}, which needs transformers {release} or later; "
            f"{transformers.__version__} is installed: {how_to_upgrade('transformers')}"
        )


def needed_release(model_type: str | None) -> str | None:
    """Release of transformers that a family needs; None if the installed one can run it."""
    family = FAMILIES.get(model_type or "")
    if family is None:
        return None
    first, release = family.cannot_run_on
    below = Version(first) <= Version(transformers.__version__) < Version(release)
    return release if below else None


def check_family_packages(name: str, model_type: str) -> None:
    """Check that the extra packages of a family are installed."""
    if model_type in _EXTRAS:
        package, extra = _EXTRAS[model_type]
        need(package, extra, name)


def _newer(version: str, other: str) -> bool:
    try:
        return Version(version) > Version(other)
    except InvalidVersion:
        return False
