"""Packages that only some models need: asked for before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from dycoke_cli.errors import ModelError

# By family: the package that its stock processor or vision tower imports, and our extra.
_OF_FAMILY = {"perception_lm": ("timm", "perception"), "smolvlm": ("num2words", "smolvlm")}


def check_family_packages(name: str, model_type: str) -> None:
    """Check that a family's packages are here.

    Args:
        name: of the model.
        model_type: of its configuration.

    Raises:
        ModelError: one isn't.
    """
    if model_type in _OF_FAMILY:
        package, extra = _OF_FAMILY[model_type]
        need(package, extra, name)


def need(package: str, extra: str, what: str) -> None:
    """Check that a package can be imported.

    Args:
        package: to import.
        extra: of ours, that installs it.
        what: needs it: a model or a flag.

    Raises:
        ModelError: it can't.
    """
    if find_spec(package) is None:
        raise ModelError(
            f"{what} needs the package {package}, which isn't installed: "
            f"pip install 'dycoke-cli[{extra}]'"
        )
