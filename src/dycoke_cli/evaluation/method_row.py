"""Row of a results table: a method with all of its parameters on a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import Spec, create, identity
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import UsageError, naming
from dycoke_cli.evaluation.datasets import plugin_of
from dycoke_cli.evaluation.eval_request import Evaluation
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.param import key_part
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.version import __version__
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.models.families import ModelInfo
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class MethodRow:
    """Row of a table on a model."""

    spec: Spec  # entry of `--methods`
    parameters: Mapping[str, Any]  # all parameters of the method, with the model's defaults

    @property
    def method(self) -> Method:
        """The method instance."""
        return create(self.spec.method, **self.parameters)


@dataclass(frozen=True)
class KeptRow(MethodRow):
    """Row whose answers are kept in a journal."""

    setup: Setup  # identity of the answers


def method_on(model: ResolvedModel | ServedModel, spec: Spec) -> Method:
    """The method of an entry with a model's defaults; those of a served model its server sets."""
    method = spec.create()
    if not isinstance(model, ServedModel):
        return method_for(model.info, spec) if model.info.listed else method
    with naming(f"--methods {spec.text}"):
        model.check(method)
    return method


def method_for(model: ModelInfo, spec: Spec) -> Method:
    """The method of an entry with the defaults of a model whose family is listed."""
    method = spec.create()
    with naming(f"--methods {spec.text}"):
        return settled(method, model)


def rows_on(
    model: ResolvedModel | ServedModel, specs: Iterable[Spec]
) -> tuple[list[MethodRow], list[str]]:
    """Rows on a model, in order, and a warning about methods of `all` that it can't run."""
    rows, left_out = [], []
    for spec in specs:
        try:
            rows.append(MethodRow(spec, method_on(model, spec).parameters()))
        except UsageError:
            if not spec.if_possible:
                raise
            left_out.append(spec.text)
    if not left_out:
        return rows, []
    skipped = ", ".join(left_out)
    return rows, [f"{model.name} can't serve all methods; skipped: {skipped}"]


def kept_rows(
    evaluation: Evaluation, chosen: ResolvedModel | ServedModel
) -> tuple[list[KeptRow], list[str]]:
    """Rows of an evaluation on its model; see `rows_on`."""
    request, dataset = evaluation.request, evaluation.dataset
    about, edition = chosen.describe(), dataset.edition(evaluation.split)
    # A plug-in's code is part of the version: its prompts and scoring may change at any time.
    if code := plugin_of(dataset.name):
        edition = f"{edition}, {code}"
    rows, warnings = rows_on(chosen, evaluation.specs)
    if request.video_tokens is not None:
        rows = [_open_positions(row) for row in rows]
    kept = []
    for row in rows:
        method, sampling = row.method, row.spec.sampled(request.sampling)
        setup = Setup(
            version=__version__,
            benchmark=dataset.name,
            edition=edition,
            split=evaluation.split,
            model=about,
            method={**identity(method), **key_part(method)},
            frames=_frames(sampling),
            max_tokens=request.generation.max_tokens,
            options=_options(sampling, request),
        )
        kept.append(KeptRow(row.spec, row.parameters, setup))
    return kept, warnings


def _frames(sampling: Sampling | None) -> int | None:
    if sampling is None:
        return 0
    return None if sampling.fps else sampling.frames


def _open_positions(row: MethodRow) -> MethodRow:
    """The row without the model's default of positions; see `ModelInfo.before_windows`."""
    if "positions" not in row.parameters or "positions" in row.spec.given:
        return row
    method = replace(row.method, **{"positions": None})
    return replace(row, parameters=method.parameters())


def _options(sampling: Sampling | None, request: Request) -> dict[str, Any]:
    """Options of sampling and generation, except those with a field of their own in `Setup`."""
    options = {} if sampling is None else key_part(sampling)
    options |= key_part(request.generation)
    if sampling is not None and request.video_tokens is not None:
        options["video_tokens"] = request.video_tokens
    return {k: v for k, v in options.items() if k not in ("frames", "max_tokens")}
