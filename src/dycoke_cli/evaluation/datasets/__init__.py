"""Every benchmark by the name it has on the command line; one file each."""

from __future__ import annotations

import difflib
from importlib import import_module

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Dataset

DATASETS: dict[str, tuple[str, str]] = {
    "shapes": ("dycoke_cli.evaluation.datasets.shapes", "Shapes"),
}
"""Module and class; imported when it is asked for."""


def open_dataset(name: str) -> Dataset:
    """The benchmark of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no benchmark {name!r} (there are {', '.join(DATASETS)}){hint}")
    module, made_by = DATASETS[name]
    dataset: Dataset = getattr(import_module(module), made_by)()
    return dataset
