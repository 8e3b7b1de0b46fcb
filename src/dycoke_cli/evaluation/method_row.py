"""A row of a table, from `--methods` to the print: a method with all of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.registry import create
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.evaluation.specs import Spec

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class MethodRow:
    """A row on the model that was chosen.

    Args:
        spec: as it was given.
        parameters: all of the method's, with the model's defaults.
    """

    spec: Spec
    parameters: Mapping[str, Any]

    @property
    def method(self) -> Method:
        """The method itself."""
        return create(self.spec.method, **self.parameters)


@dataclass(frozen=True)
class KeptRow(MethodRow):
    """A row whose answers are kept.

    Args:
        setup: what they depend on.
        preset: by which they were asked, see `presets`; empty where by none.
    """

    setup: Setup
    preset: str = ""

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.setup.model["name"])


def rows_on(model: ResolvedModel, specs: Iterable[Spec]) -> tuple[list[MethodRow], list[str]]:
    """The rows on a model, in their order; and a warning of those of `all` that are left out.

    Raises:
        UsageError: a parameter that doesn't fit the model, or a method that its family can't serve.
    """
    rows, left_out = [], []
    for spec in specs:
        try:
            rows.append(MethodRow(spec, spec.for_model(model).parameters()))
        except UsageError:
            if not spec.if_possible:
                raise
            left_out.append(spec.text)
    if not left_out:
        return rows, []
    skipped = ", ".join(left_out)
    return rows, [f"{model.source.name} can't serve all methods; skipped: {skipped}"]
