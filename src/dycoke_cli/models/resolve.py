"""Resolves a reference to a model that can be loaded.

`read_config` reads or downloads config.json, and `resolve_model` makes all checks that don't need
the weights, those of the installed packages among them.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli import plugins
from dycoke_cli.errors import ModelError, UsageError, how_to_upgrade, need
from dycoke_cli.models.catalog import CATALOG, CONFIGURATIONS, ModelRef, find, published
from dycoke_cli.models.devices import weight_dtype
from dycoke_cli.models.families import FAMILIES, UNLISTED, Family, ModelInfo, family_of
from dycoke_cli.models.files.hub import explained, model_folder
from dycoke_cli.models.files.small_files import (
    CONFIG,
    READ_SUFFIXES,
    brief,
    check_small_files,
    read_json,
    weight_files,
)
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.resources import free_main_memory
from dycoke_cli.stock.quiet import faster_imports
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.input_file import open_file
from dycoke_cli.storage.output_file import read_own

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ResolvedModel:
    """Model that passed all checks before loading, with its configuration, device and dtype."""

    name: str  # as the user gave it
    source: ModelRef  # location of its files
    config: Any  # its `transformers` configuration
    revision: str | None  # commit of a hub model, or None
    info: ModelInfo  # what the configuration says, such as its layout
    device: torch.device  # that it will be loaded to
    dtype: torch.dtype  # of its loaded weights
    options: LoadOptions  # load options, with this dtype in place of "auto"

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the model without the device, on which answers don't depend.

        Name, revision, weights and dtype; and the plug-in that defines its family, if any. The
        dtype of a quantized model is, e.g., "int8/bfloat16": its activations and the layers that
        aren't quantized have the second one.
        """
        code, quantize = plugins.version("family", self.info.model_type), self.options.quantize
        dtype = str(self.dtype).removeprefix("torch.")
        return {
            "name": self.source.name,
            "revision": self.revision,
            "weights": fingerprint(self.source, self.revision),
            "dtype": f"{quantize}/{dtype}" if quantize else dtype,
        } | ({} if code is None else {"plugin": code})

    def build(self) -> Any:
        """Build the stock model on the meta device, where weights have shapes but no storage."""
        return without_weights(self.source, self.config, self.dtype)

    def describe(self) -> dict[str, Any]:
        """Identity of the model and its device, for reports and caches."""
        return {**self.identity, "device": str(self.device)}


def read_config(source: ModelRef, revision: str | None = None) -> tuple[Any, Path]:
    """Read a model's configuration, and check its files; downloads the small ones if necessary.

    Returns:
        The `transformers` configuration, and the folder of the model's files: of a hub model its
        name is the commit.
    """
    from transformers import AutoConfig

    from dycoke_cli.stock.private_api import text_part
    from dycoke_cli.stock.quiet import quiet_libraries

    with quiet_libraries(), explained(source, "its config.json"):
        folder = model_folder(source, revision)
        # Everything is checked before transformers parses it; a folder's files when it was found.
        if not source.local:
            check_small_files(source.name, folder)
        check_known(source.name, folder)
        weight_files(source.name, folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return text_part(config), folder


def fingerprint(source: ModelRef, revision: str | None) -> str:
    """Fingerprint of a model's files: a hub model's commit, or a hash of a folder's content."""
    if revision is not None:
        return f"commit:{revision}"
    return f"sha256:{folder_fingerprint(Path(source.location))}"


def resolve_model(
    name: str | ModelRef, options: LoadOptions | None = None, copies: int = 1
) -> ResolvedModel:
    """Resolve a model, and check that it can be loaded with these options on this machine.

    Args:
        options: load options; None for the defaults.
    """
    import torch

    from dycoke_cli.kernels.quantize import check_quantize, stored_quantized
    from dycoke_cli.models.devices import named_device

    options = options or LoadOptions()
    # The device first: a mistyped flag is reported before anything is downloaded.
    device = named_device(options.device)
    source, config, folder = _resolve_config(name, options)
    commit = None if source.local else folder.name
    with explained(source, "its config.json"):
        info = ModelInfo.of(config, source.name, family_in(source, config))
        check_family_packages(source.name, config.model_type)
        check_quantize(options.quantize, source.name, config, device, options.random_weights)
    check_device_map(options.device_map, options.quantize)
    stored = info.dtype or "float32"

    def nbytes() -> int | None:
        if not options.random_weights:
            return download_bytes(source, commit)
        built = without_weights(source, config, getattr(torch, stored))
        return sum(tensor.nbytes for tensor in built.parameters())

    chosen = weight_dtype(
        options,
        stored,
        nbytes,
        quantized=stored_quantized(config),
        cpu=device.type == "cpu",
        free=free_main_memory(),
        copies=copies,
    )
    return ResolvedModel(
        name if isinstance(name, str) else name.name,
        source,
        config,
        commit,
        info,
        device,
        getattr(torch, chosen),
        options.with_dtype(chosen),
    )


def family_in(source: ModelRef, config: Any) -> Family:
    """Family of a model; `UNLISTED` if the table doesn't have it but it takes videos or images."""
    from dycoke_cli.stock.private_api import shows_videos

    if config.model_type not in FAMILIES and shows_videos(config):
        return UNLISTED
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{source.name} is of the family {config.model_type!r}, which isn't supported; "
            "`dycoke models` lists models that are"
        )
    return family_of(config)


def _resolve_config(name: str | ModelRef, options: LoadOptions) -> tuple[ModelRef, Any, Path]:
    """Find a model and read its configuration; returns the folder of its files as well.

    With `--random-weights` both come from the package: nothing is read from disk or hub.
    """
    from transformers import AutoConfig

    if not options.random_weights:
        source = find(name) if isinstance(name, str) else name
        return source, *read_config(source, options.revision)
    name = name if isinstance(name, str) else name.name
    config = AutoConfig.for_model(**copy.deepcopy(published(name).config))
    shown = f"{name} (random weights)"
    source = ModelRef(shown, str(CONFIGURATIONS), CATALOG.get(name), local=True)
    return source, config, CONFIGURATIONS


def without_weights(source: ModelRef, config: Any, dtype: torch.dtype) -> Any:
    """Build a stock model on the meta device, where weights have shapes but no storage."""
    with faster_imports():  # building it imports the modules of its classes
        import torch

        from dycoke_cli.stock.private_api import auto_class, without_initialisation

        # Initialising nothing takes as long as building it.
        with explained(source, "its config.json"), torch.device("meta"), without_initialisation():
            # A copy, because `from_config` writes the dtype into the configuration.
            model = auto_class(config).from_config(copy.deepcopy(config), dtype=dtype)
        model.tie_weights()  # normally part of the initialisation
        return model


def file_bytes(source: ModelRef, revision: str | None) -> int | None:
    """Bytes of a model's weight files, without downloading any; None if unknown."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    total = 0
    with explained(source, "its weights"):
        folder = model_folder(source, revision)
        for name in weight_files(source.name, folder):
            if (folder / name).exists():
                total += (folder / name).stat().st_size
                continue
            url = hf_hub_url(source.location, name, revision=folder.name)
            size = get_hf_file_metadata(url).size
            if size is None:
                return None
            total += size
    return total


def download_bytes(source: ModelRef, revision: str | None) -> int | None:
    """Bytes of a model's weight files by the catalog; of other models, see `file_bytes`."""
    return (source.entry and source.entry.download_bytes) or file_bytes(source, revision)


def check_device_map(device_map: str | None, quantize: str | None) -> None:
    """Check that a device map is supported on this machine."""
    import torch

    from dycoke_cli.kernels.quantize import EXTRA

    if device_map is None:
        return
    if quantize is not None and not torch.cuda.is_available():
        raise UsageError(
            f"--device-map auto with --quantize {quantize} needs a CUDA device, and there is none; "
            "drop one of them"
        )
    need("accelerate", EXTRA, "--device-map auto")


# Checks that the installed packages can load a family.


# Families whose repositories contain code, whether their configuration says so or not.
_OF_CODE = ("internvl_chat", "videollama3_qwen2")
# Families whose stock processor or vision tower imports another package: (package, our extra).
_EXTRAS = {"perception_lm": ("timm", "perception"), "smolvlm": ("num2words", "smolvlm")}


def check_known(name: str, folder: Path) -> None:
    """Check that transformers has a class for a checkpoint."""
    import transformers

    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise ModelError(f"the config.json of {name} names a model_type that isn't text")
    check_release(name, kind)
    if kind in transformers.CONFIG_MAPPING:
        return
    if kind is None:
        raise ModelError(f"the config.json of {name} names no model_type, so it can't be loaded")
    if kind in _OF_CODE or "auto_map" in config:
        raise ModelError(
            f"{name} needs code from its repository, which is never run; take one of the same "
            "model in transformers' format; its name often ends in -hf"
        )
    raise ModelError(
        f"{name} is of the family {brief(kind)}, which transformers {transformers.__version__} "
        f"doesn't know; a newer one may ({how_to_upgrade('transformers')}), and `dycoke models` "
        "lists models that are supported"
    )


def check_release(name: str, model_type: str | None) -> None:
    """Check that the installed transformers can run a listed family; others always pass."""
    import transformers
    from packaging.version import Version

    family = FAMILIES.get(model_type or "", UNLISTED)
    first, release = family.cannot_run_on
    if Version(first) <= Version(transformers.__version__) < Version(release):
        raise ModelError(
            f"{name} is of the family {model_type!r}, which needs transformers {release} or later; "
            f"{transformers.__version__} is installed: {how_to_upgrade('transformers')}"
        )


def check_family_packages(name: str, model_type: str) -> None:
    """Check that the extra packages of a family are installed."""
    if model_type in _EXTRAS:
        package, extra = _EXTRAS[model_type]
        need(package, extra, name)


# Fingerprint of a model's folder: a hash of the content of all files that loading reads.
#
# Gigabytes of weights take seconds to read and hash. So the hash is kept in the cache folder, by
# what the file system says of the files: their names, sizes, inodes, and times of the last change.


_DIGEST = re.compile(r"[0-9a-f]{64}")
# Some file systems keep times in steps of two seconds: a file that was just written may change
# again without a sign of it.
_STEP_NS = 2 * 10**9


def folder_fingerprint(folder: Path, suffixes: Sequence[str] = READ_SUFFIXES) -> str:
    """SHA-256 of the names and contents of the files that loading reads, in hexadecimal."""
    # Files that loading doesn't read, such as a README, don't change the model.
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    files = [path for path in files if path.is_file()]
    state, changed_ns = _state(files)
    stored = kept("fingerprints") / state
    with contextlib.suppress(OSError, ValueError):
        if _DIGEST.fullmatch(digest := read_own(stored)):
            return digest
    content = hashlib.sha256()
    for path in files:
        with open_file(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        content.update(f"{path.name} {digest}\n".encode())
    if time.time_ns() - changed_ns > _STEP_NS and _state(files)[0] == state:
        with contextlib.suppress(OSError):  # the next run reads the files again
            write_whole(stored, content.hexdigest())
    return content.hexdigest()


def _state(files: list[Path]) -> tuple[str, int]:
    """Hash of what the file system says of files, and the time of their last change in ns."""
    stats = [path.stat() for path in files]
    about = [
        (path.name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for path, s in zip(files, stats, strict=True)
    ]
    latest = max((max(s.st_mtime_ns, s.st_ctime_ns) for s in stats), default=0)
    return hashlib.sha256(json.dumps(about).encode()).hexdigest(), latest
