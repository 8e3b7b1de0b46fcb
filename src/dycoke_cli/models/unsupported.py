"""Checks that the installed packages can load a family."""

from __future__ import annotations

from pathlib import Path

import transformers
from packaging.version import InvalidVersion, Version
from transformers import CONFIG_MAPPING

from dycoke_cli.errors import ModelError
from dycoke_cli.extras import how_to_upgrade, need
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.files.small_files import CONFIG, brief, read_json

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
