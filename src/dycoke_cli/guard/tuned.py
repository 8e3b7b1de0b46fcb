"""Stored result of `dycoke tune` for a model, in the settings folder.

The file is named by a fingerprint of the model's configuration and weight names, so that it
doesn't depend on where the model's files are.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import Tuned
from dycoke_cli.answer.json_schema import Bounds, from_dict, parse, to_dict
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import restore
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import ModelError, OutputError, UsageError
from dycoke_cli.guard.bounds import Attempt
from dycoke_cli.models.catalog import find
from dycoke_cli.models.families import CHECKPOINT_KEY
from dycoke_cli.models.files.on_disk import config_in, folder_of
from dycoke_cli.models.files.small_files import loaded_files
from dycoke_cli.models.settings import settings_file
from dycoke_cli.storage.output_file import replace_content
from dycoke_cli.version import __version__

SCHEMA = "dycoke.tuning/1"
_BOUNDS = Bounds(nbytes=64 * 1024**2, values=5_000_000)
# Keys of a configuration that may change while the model stays the same.
_NOT_THE_MODEL = (CHECKPOINT_KEY, "_name_or_path", "transformers_version", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Tuning:
    """Result of a tuning."""

    schema: str  # of the file
    version: str  # version of dycoke that wrote it
    model: str  # name of the model when it was tuned
    fingerprint: str  # see `fingerprint`
    dtype: str  # weight dtype
    sampling: dict[str, Any]  # frame sampling
    method: dict[str, Any]  # the chosen method with every parameter
    default: bool  # whether it is the default method of this model
    tuned: Tuned  # statistical guarantee of the choice
    ladder: tuple[dict[str, Any], ...]  # methods of a guard, smallest budget first
    # answers for the calibration of a guard, by video, question and budget
    tries: tuple[tuple[tuple[Attempt, ...], ...], ...]
    # of the questions, if they were typed ones; none for answers in words
    options: tuple[str, ...] = ()
    # whether the options' probabilities were divided by those without the video
    calibrated: bool = False

    def chosen(self) -> Method:
        """The chosen method."""
        return restore(self.method)

    def check(self) -> None:
        """Check what the types of the fields don't say."""
        for method in (self.method, *self.ladder):
            restore(method)
        # Raises ValueError for a number that isn't finite, at any depth.
        json.dumps([self.sampling, self.method, *self.ladder], allow_nan=False)
        tuned = self.tuned
        agreement = () if tuned.agreement is None else (tuned.agreement,)
        attempts = [each for video in self.tries for question in video for each in question]
        shares = (tuned.target, *agreement, *tuned.interval, *(each.score for each in attempts))
        if not all(0 <= share <= 1 for share in shares) or len(tuned.interval) != 2 * len(
            agreement
        ):
            raise ValueError("no shares, or no interval")
        if not all(self.tries) or any(
            len(question) != len(self.ladder) for video in self.tries for question in video
        ):
            raise ValueError("a video without questions, or one without an answer at each budget")

    def differences(
        self, dtype: str, sampling: dict[str, Any], typed: TypedOptions | None = None
    ) -> list[str]:
        """Warnings about options of a request that differ from those of the tuning.

        Args:
            dtype: quantization or weight dtype of the request; "auto" if it isn't known.
            typed: options of the question; None if it has none.
        """
        deviations = []
        if dtype not in ("auto", self.dtype):
            deviations.append(f"weights in {self.dtype}, not {dtype}")
        if sampling != self.sampling:
            deviations.append("other frames")
        if self.options and typed is not None and self._differs(typed):
            deviations.append("other options")
        if not deviations:
            return []
        return [f"tuned with {' and '.join(deviations)}: its figures may not hold here"]

    def _differs(self, typed: TypedOptions) -> bool:
        return (self.options, self.calibrated) != (typed.texts, typed.calibrate)


def fingerprint(model: str) -> str:
    """Hash of a model's configuration and of the names and shapes of its weights.

    The values of the weights aren't read, which would take as long as loading the model.
    """
    source = find(model)
    folder = folder_of(source)
    config = None if folder is None else config_in(folder)
    if folder is None or config is None:
        raise ModelError(
            f"{source.name} isn't on this machine, and so what was tuned for it isn't known; "
            f"`dycoke models pull {source.name}` downloads it"
        )
    values = {k: v for k, v in config.values.items() if k not in _NOT_THE_MODEL}
    names = sorted(name for path in loaded_files(folder) for name in _weights(path))
    content = json.dumps([values, names], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _weights(path: Path) -> list[str]:
    """Names and shapes in the header of a safetensors file."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            # The format's own limit on a header, so that a damaged file can't exhaust memory.
            header = json.loads(file.read(min(length, 100_000_000)))
        return [f"{k} {v['shape']}" for k, v in header.items() if k != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} can't be read as safetensors; download it again") from error


def file_of(model_id: str, *, typed: bool = False) -> Path:
    """Path of a model's tuning, by fingerprint; that of typed questions is a file of its own."""
    return settings_file().parent / "tuned" / f"{model_id}{'-typed' if typed else ''}.json"


def store(tuning: Tuning) -> Path:
    """Write a tuning; replaces an earlier one of the same model and kind of question."""
    path = file_of(tuning.fingerprint, typed=bool(tuning.options))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_content(path, (json.dumps(to_dict(tuning)) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror})") from error
    return path


def stored(model: str, *, typed: bool = False) -> Tuning | None:
    """Tuning of a model; None if it wasn't tuned."""
    if not file_of("").parent.is_dir():  # nothing was ever tuned: saves reading weight files
        return None
    model_id = fingerprint(model)
    path = file_of(model_id, typed=typed)
    if not path.exists():
        return None
    again = "run `dycoke tune` again, or name a --method"
    damaged = f"{path} isn't what `dycoke tune` wrote; {again}"
    try:
        if not path.is_file():  # a pipe has no end
            raise UsageError(damaged)
        with path.open("rb") as file:
            content = parse(file.read(_BOUNDS.nbytes + 1), _BOUNDS)
        tuning: Tuning = from_dict(Tuning, content)
        if bool(tuning.options) != typed:
            raise UsageError(damaged)
    except (OSError, ValueError) as error:
        raise UsageError(damaged) from error
    # Another release may compress differently, so the measured agreement wouldn't hold.
    if tuning.version != __version__ or tuning.schema != SCHEMA:
        raise UsageError(
            f"{model} was tuned by dycoke {tuning.version[:40]}, and this is {__version__}; {again}"
        )
    if tuning.fingerprint != model_id:
        raise UsageError(f"{path} is the tuning of another model, {tuning.model[:200]}; {again}")
    try:
        tuning.check()
    except UsageError as error:
        raise UsageError(f"{path} can't be used any more: {error}; {again}") from error
    except ValueError as error:
        raise UsageError(damaged) from error
    return tuning


def tuning_of(model: str, *, typed: bool = False) -> Tuning:
    """Tuning of a model that must have one.

    Args: see `stored`.
    """
    tuning = stored(model, typed=typed)
    if tuning is None and typed:
        raise UsageError(
            f"{model} isn't tuned with options yet, and --guard needs their margins: "
            f"`dycoke tune VIDEO… --model {model}` with the same options"
        )
    if tuning is None:
        raise UsageError(
            f"{model} isn't tuned yet: `dycoke tune VIDEO… --model {model}` chooses a method for "
            "it, or name one with --method"
        )
    return tuning


def default_tuning(model: str, *, typed: bool = False) -> Tuning | None:
    """Tuning that is the default method of a model; None if there is none."""
    try:
        found = [stored(model, typed=kind) for kind in ((True, False) if typed else (False,))]
    except ModelError:  # no such model: loading reports it with better advice
        return None
    return next((one for one in found if one is not None and one.default), None)
