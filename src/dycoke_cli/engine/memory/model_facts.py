"""What an estimate needs to know of a model, kept in the cache: the next one needs no torch.

The stock class tells it, on the meta device.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.load_memory import WeightBytes
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.resources import processor_name, usable_cpus
from dycoke_cli.stock.sizes import Sizes
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.output_file import read_own
from dycoke_cli.version import program_key

_PROGRAM = program_key()


@dataclass(frozen=True)
class ModelFacts:
    """A model as it would be loaded."""

    sizes: Sizes  # of the model
    dtype: str  # of its weights, where they aren't quantized
    dtype_bytes: int  # of one number
    weights: WeightBytes  # that they take
    prefills_whole: bool  # whether it reads each prompt in one piece


def model_facts(
    source: ModelRef, stored: ModelInfo, loading: LoadOptions, device: str
) -> ModelFacts:
    """What is known of a model so loaded: as it is kept, or made anew.

    Args:
        loading: dtype, quantization and kernels.
    """
    with contextlib.suppress(OSError, ValueError, RecursionError):
        text = read_own(_file(stored, loading, device))
        kept: ModelFacts = from_dict(ModelFacts, json.loads(text))
        return kept
    made = _made(source, stored, loading, device)
    with contextlib.suppress(OSError, RuntimeError):  # the next one makes it again
        write_whole(_file(stored, loading, device), json.dumps(to_dict(made)))
    return made


def _file(stored: ModelInfo, loading: LoadOptions, device: str) -> Path:
    """Where it is kept: by all that it depends on, this program and its libraries included."""
    return kept("estimates") / _named([*_of_this_machine(stored, loading), device])


def _of_this_machine(stored: ModelInfo, loading: LoadOptions) -> list[Any]:
    return [
        *_PROGRAM,
        dict(stored.values),
        asdict(replace(loading, revision=None, device="auto")),
        processor_name(),
        usable_cpus(),
        os.environ.get("OMP_NUM_THREADS"),
    ]


def _named(parts: list[Any]) -> str:
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{digest[:24]}.json"


def _made(source: ModelRef, stored: ModelInfo, loading: LoadOptions, device: str) -> ModelFacts:
    import torch

    from dycoke_cli.engine.other_inputs import prefills_whole
    from dycoke_cli.models.devices import weight_dtype
    from dycoke_cli.models.load_memory import weight_bytes
    from dycoke_cli.models.resolve import ResolvedModel, family_in

    config = _configuration(source, stored, loading.revision)
    info, target = (
        ModelInfo.of(config, source.name, family_in(source, config)),
        torch.device(device),
    )
    # "auto" is left only of a checkpoint whose config.json doesn't name its dtype.
    cpu = target.type == "cpu"
    name = weight_dtype(loading, info.dtype or "float32", lambda: None, cpu=cpu, free=None).name
    dtype: torch.dtype = getattr(torch, name)
    resolved = ResolvedModel(
        source.name, source, config, loading.revision, info, target, dtype, loading
    )
    model = resolved.build()
    weights = weight_bytes(resolved, model)
    if weights is None:
        raise ModelError(f"nothing tells how large the weights of {source.name} are")
    return ModelFacts(Sizes.of(config), name, dtype.itemsize, weights, prefills_whole(model))


def _configuration(source: ModelRef, stored: ModelInfo, revision: str | None) -> Any:
    """The same as `transformers` has it, with what the file leaves to its class."""
    if stored.folder is not None:
        from dycoke_cli.models.resolve import read_config

        return read_config(source, revision)[0]
    from transformers import AutoConfig

    return AutoConfig.for_model(**stored.values)
