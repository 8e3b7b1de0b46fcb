"""What `dycoke tune` found for a model, kept in the settings folder.

A model is told by its configuration and the names of its weights, wherever its files are.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.answer.guarantee import Tuned
from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import restore
from dycoke_cli.errors import ModelError, OutputError, UsageError
from dycoke_cli.guard.calibration import Try
from dycoke_cli.models.families import CHECKPOINT_KEY
from dycoke_cli.models.files.on_disk import config_in, folder_of
from dycoke_cli.models.files.weight_files import loaded_files
from dycoke_cli.models.resolve import find
from dycoke_cli.models.settings import settings_file
from dycoke_cli.storage.output_file import replace_content
from dycoke_cli.version import __version__

SCHEMA = "dycoke.tuning/1"
# What may change without the model being another one.
_NOT_THE_MODEL = (CHECKPOINT_KEY, "_name_or_path", "transformers_version", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Args:
        schema: of the file.
        version: of dycoke.
        model: its name, when it was tuned.
        fingerprint: see `fingerprint`.
        dtype: of its weights.
        sampling: which frames were read.
        method: that was chosen, with every parameter.
        default: whether it is used where no method is named.
        tuned: on what, and how well it agrees.
        ladder: the methods by which a guard asks, smallest budget first.
        tries: of each video of the guard, of each question, at each budget.
    """

    schema: str
    version: str
    model: str
    fingerprint: str
    dtype: str
    sampling: dict[str, Any]
    method: dict[str, Any]
    default: bool
    tuned: Tuned
    ladder: tuple[dict[str, Any], ...]
    tries: tuple[tuple[tuple[Try, ...], ...], ...]

    def chosen(self) -> Method:
        """The method.

        Raises:
            UsageError: there is no such method or parameter any more.
        """
        return restore(self.method)

    def differences(self, dtype: str, sampling: dict[str, Any]) -> list[str]:
        """Warnings where a request isn't like what it was tuned on.

        Args:
            dtype: what `--dtype` says; auto is the one that it was tuned with.
            sampling: which frames are read.
        """
        found = []
        if dtype not in ("auto", self.dtype):
            found.append(f"weights in {self.dtype}, not {dtype}")
        if sampling != self.sampling:
            found.append("other frames")
        return [f"tuned with {' and '.join(found)}: its figures may not hold here"] * bool(found)


def fingerprint(model: str) -> str:
    """What tells a model: its configuration, and the names and shapes of its weights.

    Raises:
        ModelError: there is no such model, or it isn't on this machine.
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
    """The names and shapes in a safetensors file; nothing else of it is read."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(min(length, 100_000_000)))
        return [f"{k} {v['shape']}" for k, v in header.items() if k != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} can't be read as safetensors; download it again") from error


def file_of(print_: str) -> Path:
    """The file of a model's tuning, by its fingerprint."""
    return settings_file().parent / "tuned" / f"{print_}.json"


def store(tuning: Tuning) -> Path:
    """Keep a tuning in place of an earlier one.

    Raises:
        OutputError: it can't be written.
    """
    path = file_of(tuning.fingerprint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_content(path, (json.dumps(to_dict(tuning)) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror})") from error
    return path


def stored(model: str) -> Tuning | None:
    """The tuning of a model; None where there is none.

    Raises:
        ModelError: see `fingerprint`.
        UsageError: it is of another version or model, or damaged.
    """
    if not file_of("").parent.is_dir():  # nothing was ever tuned: no weights need be looked at
        return None
    print_ = fingerprint(model)
    path = file_of(print_)
    if not path.exists():
        return None
    again = "run `dycoke tune` again, or name a --method"
    try:
        content = json.loads(path.read_bytes())
        version = content["version"]
        tuning = from_dict(Tuning, content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} isn't what `dycoke tune` wrote; {again}") from error
    if version != __version__ or tuning.schema != SCHEMA:
        raise UsageError(
            f"{model} was tuned by dycoke {version}, and this is {__version__}; {again}"
        )
    if tuning.fingerprint != print_:
        raise UsageError(f"{path} is the tuning of another model, {tuning.model}; {again}")
    return tuning


def tuning_of(model: str) -> Tuning:
    """The tuning of a model.

    Raises:
        ModelError, UsageError: see `stored`; or there is none.
    """
    tuning = stored(model)
    if tuning is None:
        raise UsageError(
            f"{model} isn't tuned yet: `dycoke tune VIDEO… --model {model}` chooses a method for "
            "it, or name one with --method"
        )
    return tuning


def saved_as_default(model: str) -> Tuning | None:
    """The tuning that is used where no method is named; None where there is none.

    Raises:
        UsageError: there is one, and it is of another version or model.
    """
    try:
        tuning = stored(model)
    except ModelError:  # no such model, which loading tells better
        return None
    return tuning if tuning is not None and tuning.default else None
