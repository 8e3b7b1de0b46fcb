"""Which model, where it will run and in which number format: known before anything is loaded."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.catalog import CATALOG, CONFIGURATIONS, published
from dycoke_cli.models.families import FAMILIES, Family, family_of, method_defaults
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.packages import check_family_packages
from dycoke_cli.models.quantizing import check_quantize
from dycoke_cli.models.source import Source, find, fingerprint, read_config
from dycoke_cli.models.spreading import check_device_map

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ChosenModel:
    """A model that was found; its weights are still where they were.

    Args:
        name: as it was given.
        source: where its files are.
        config: its `transformers` configuration.
        revision: commit of a hub model, or None.
        family: its layout.
        device: where it will run.
        dtype: of its weights, once loaded.
        options: how it is to be loaded.
    """

    name: str
    source: Source
    config: Any
    revision: str | None
    family: Family
    device: torch.device
    dtype: torch.dtype
    options: LoadOptions

    @property
    def layers(self) -> int:
        """Of the language model."""
        return self.config.get_text_config().num_hidden_layers

    @property
    def method_defaults(self) -> dict[str, Any]:
        """Parameters of methods that suit this model."""
        return method_defaults(self.config)

    def describe(self) -> dict[str, Any]:
        """What tells it from every other: name, revision, weights, dtype and device."""
        return {
            "name": self.source.name,
            "revision": self.revision,
            "weights": fingerprint(self.source, self.revision),
            "dtype": self.options.quantize or str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
        }


def choose(name: str, options: LoadOptions | None = None) -> ChosenModel:
    """Find a model, and check that it can be loaded like that here.

    Args:
        name: of the catalog, a folder or a hub id.
        options: how it is to be loaded; None for the defaults.

    Raises:
        ModelError: it can't be found, isn't supported, or needs a package that isn't here.
        UsageError: a device or dtype that isn't there, or options that it can't be loaded with.
    """
    options = options or LoadOptions()
    target = _device(options.device)
    source, config, commit = _described(name, options)
    family = family_in(source, config)
    dtype = _dtype(options.dtype, config, target)
    check_family_packages(source.name, config.model_type)
    check_quantize(options.quantize, source.name, config, target, options.random_weights)
    check_device_map(options.device_map, options.quantize)
    return ChosenModel(name, source, config, commit, family, target, dtype, options)


def family_in(source: Source, config: Any) -> Family:
    """The layout of the model's family.

    Raises:
        ModelError: it isn't supported.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{source.name} is of the family {config.model_type!r}, which isn't supported "
            f"(supported: {', '.join(FAMILIES)})"
        )
    return family_of(config)


def _described(name: str, options: LoadOptions) -> tuple[Source, Any, str | None]:
    """Where a model is, its configuration, and its commit on the hub."""
    if not options.random_weights:
        source = find(name)
        return source, *read_config(source, options.revision)
    config = AutoConfig.for_model(**copy.deepcopy(published(name).config))
    shown = f"{name} (random weights)"
    return Source(shown, str(CONFIGURATIONS), CATALOG.get(name), local=True), config, None


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {name!r}")
    devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= devices:
        raise UsageError(f"--device {name}: CUDA devices on this machine: {devices}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no such device on this machine")
    return device


def _dtype(name: str, config: Any, device: torch.device) -> torch.dtype:
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise UsageError(f"--dtype must be auto, {', '.join(DTYPES)}, not {name!r}")
    stored = config.dtype or config.get_text_config().dtype or torch.float32
    if stored == torch.float16 and device.type == "cpu":
        return torch.bfloat16  # CPUs compute float16 slowly, where they do at all
    return stored
