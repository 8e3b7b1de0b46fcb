"""A model's folder: its stored configuration, its fingerprint, the trial of its tokenizer.

Without torch and downloads: the configuration is read from a folder, the hub client's cache, or the
package's copy for a published model. The fingerprint is a hash of all files that loading reads.
Gigabytes of weights take seconds to hash, so it is kept in the cache folder, by what the file
system says of the files: their names, sizes, inodes, and times of the last change.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import ModelRef, published, published_names
from dycoke_cli.models.families import (
    CHECKPOINT_KEY,
    DOMAIN,
    FAMILIES,
    UNLISTED,
    Family,
    defaults_of,
)
from dycoke_cli.models.files.small_files import (
    CONFIG,
    READ_SUFFIXES,
    UnreadableError,
    check_settings,
    loaded_files,
    read_json,
)
from dycoke_cli.models.free_memory import Target
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import download_bytes
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.models.weight_dtype import StoredWeights, WeightDtype, weight_dtype
from dycoke_cli.processes.sandbox import (
    end_with,
    give_up_privileges,
    limit_cpu,
    limit_memory,
)
from dycoke_cli.processes.zygote import import_path
from dycoke_cli.storage.cache_folder import kept, make_folder, write_whole
from dycoke_cli.storage.input_file import open_file, read_file
from dycoke_cli.storage.output_file import open_own, read_own

_DIGEST = re.compile(r"[0-9a-f]{64}")
# Some file systems keep times in steps of two seconds: a file that was just written may change
# again without a sign of it.
_STEP_NS = 2 * 10**9


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of the files that loading reads, in hexadecimal."""
    # Files that loading doesn't read, such as a README, don't change the model.
    files = sorted(path for path in folder.iterdir() if path.suffix in READ_SUFFIXES)
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


# Sizes of a configuration that `dycoke models` shows.
_OF_TEXT = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
_OF_VISION = (
    "hidden_size",
    "embed_dim",
    "num_hidden_layers",
    "depth",
    "num_attention_heads",
    "num_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
)


@dataclass(frozen=True)
class StoredConfig:
    """Content of a `config.json`; for absent values the stock class has defaults."""

    values: dict[str, Any]  # of the file
    folder: Path | None = None  # of the file; None for the package's copy

    @property
    def family(self) -> Family | None:
        """Family of the model; None if the table doesn't have it."""
        return FAMILIES.get(str(self.values.get("model_type")))

    @property
    def text(self) -> dict[str, Any]:
        """Configuration of the language model."""
        return self.values.get("text_config") or self.values

    @property
    def vision(self) -> dict[str, Any]:
        """Configuration of the vision tower; empty if there is none."""
        return self.values.get("vision_config") or {}

    @property
    def dtype(self) -> str | None:
        """Dtype of the stored weights."""
        for values in (self.values, self.text):
            for name in ("dtype", "torch_dtype"):
                if isinstance(values.get(name), str):
                    return values[name]
        return None

    @property
    def layers(self) -> int | None:
        """Number of language model layers."""
        layers = self.text.get("num_hidden_layers")
        return layers if isinstance(layers, int) else None

    @property
    def method_defaults(self) -> dict[str, Any] | None:
        """See `families.method_defaults`; None for a family outside the table."""
        family = self.family
        if family is None:
            return None
        return defaults_of(family, self.values.get(CHECKPOINT_KEY), self.layers)

    def traits(self, name: str) -> ModelTraits:
        """What a method is settled for; an unsupported family has the usual defaults."""
        return ModelTraits(
            model_type=str(self.values.get("model_type")),
            family=self.family or UNLISTED,
            defaults=self.method_defaults or defaults_of(UNLISTED),
            layers=self.layers,
            name=name,
        )

    @property
    def domain(self) -> str | None:
        """See `families.domain`; only after `method_defaults` has validated the configuration."""
        return (self.values.get(CHECKPOINT_KEY) or {}).get(DOMAIN)

    @property
    def sizes(self) -> dict[str, Any]:
        """Keys `family`, `dtype`, and the sizes of `text` and `vision` that the file has."""
        return {
            "family": self.values.get("model_type"),
            "dtype": self.dtype,
            "text": {name: self.text[name] for name in _OF_TEXT if name in self.text},
            "vision": {name: self.vision[name] for name in _OF_VISION if name in self.vision},
        }


def config_in(folder: Path) -> StoredConfig | None:
    """Configuration in a folder; None if it can't be read."""
    try:
        values = read_json(folder / CONFIG)
        check_settings(CONFIG, values)
    except UnreadableError:
        return None
    parts = [values.get(name) for name in ("text_config", "vision_config")]
    if any(part is not None and not isinstance(part, dict) for part in parts):
        return None
    return StoredConfig(values, folder)


def stored_config(source: ModelRef) -> StoredConfig | None:
    """Configuration of a model from folder, cache or package; None if it isn't on this machine."""
    folder = folder_of(source)
    if folder is not None:
        return config_in(folder)
    if source.name in published_names():
        return StoredConfig(published(source.name).config)
    return None


def dtype_here(
    source: ModelRef, stored: StoredConfig, options: LoadOptions, target: Target
) -> WeightDtype:
    """Dtype that a model is loaded in; named "auto" if its configuration doesn't have one."""
    weights = StoredWeights(
        stored.dtype or "auto",
        partial(download_bytes, source, options.revision),
        stored.values.get("quantization_config") is not None,
    )
    return weight_dtype(options, weights, cpu=target.device == "cpu", free=target.free)


def folder_of(source: ModelRef) -> Path | None:
    """Folder of a model's files on this machine; None if there are none."""
    if source.local:
        return Path(source.location)
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(source.location, "config.json")
    return Path(path).parent if isinstance(path, str) else None


def is_here(source: ModelRef) -> bool:
    """Whether a model can be loaded without a download."""
    folder = folder_of(source)
    if folder is None:
        return False
    files = loaded_files(folder)
    return bool(files) and all(path.exists() for path in files)


# Trial of an untrusted tokenizer in a separate process, before it is loaded.
#
# Its regular expressions and replacements run in a Rust library. Python can't interrupt it, and it
# aborts the process if memory runs out. Tokenizers that passed are cached by their hash, so the
# trial costs a second once.


# A tokenizer of 33 MB, one of the largest published, takes 2 s and 400 MB.
_CPU_S = 8
_DEADLINE_S = 120
_BYTES, _BYTES_PER_BYTE = 512 << 20, 32
# Lists and objects in tokenizer.json. A vocabulary of 262,144 tokens has half a million, most of
# them merge pairs.
_MAX_PARTS = 4_000_000
# Prefixes of the environment variables that an interpreter needs to start. Secrets such as HF_TOKEN
# aren't passed on.
_ENVIRONMENT = ("DYLD_", "LD_", "PYTHON", "SYSTEMROOT")
_START = "from dycoke_cli.models.files.on_disk import try_tokenizer; try_tokenizer()"


def check_tokenizer(name: str, file: Path) -> None:
    """Check that a tokenizer neither crashes nor exceeds the limits of time and memory."""
    if not file.is_file():
        return
    content = read_file(file)
    digest = hashlib.sha256(content).hexdigest()
    # By release as well: a tokenizer that one release reads may crash another.
    version = importlib.metadata.version("tokenizers")
    passed = kept("tokenizers") / f"{digest}-{version}"
    if _is_ours(passed):
        return
    # transformers parses the file in this process, where a list or object takes at least 20 times
    # its bytes.
    if content.count(b"[") + content.count(b"{") > _MAX_PARTS:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} has more parts than any real one"
        )
    inherited = {key: value for key, value in os.environ.items() if key.startswith(_ENVIRONMENT)}
    command = [sys.executable, "-c", _START, str(file.absolute()), str(os.getpid()), str(_CPU_S)]
    try:
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**inherited, **import_path()},
            timeout=_DEADLINE_S,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} crashes the library that reads it, or takes "
            "more time or memory than any real one; download it again"
        )
    with suppress(OSError):
        make_folder(passed.parent)
        os.close(open_own(passed))


def try_tokenizer() -> None:
    """Entry point of the trial process: encode the hardest texts under limits."""
    file, parent, cpu_s = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    end_with(parent)
    give_up_privileges()
    from tokenizers import Tokenizer

    limit_memory(0, _BYTES + _BYTES_PER_BYTE * file.stat().st_size)
    limit_cpu(0, cpu_s)
    try:
        tokenizer = Tokenizer.from_file(str(file))
        for text in _texts():
            tokenizer.encode(text)
    except Exception:
        return  # an exception is harmless, and loading the tokenizer reports it


def _texts() -> list[str]:
    """Long runs, which make a regular expression backtrack, and every character of the BMP."""
    runs = ["a", "Z", "7", " ", "\n", ".", "é", "語", "ab ", "What is it? ", "a1", "'s", "3.14 "]
    letters = "".join(map(chr, [*range(32, 0xD800), *range(0xE000, 0x10000)]))
    return [*(run * 200 + end for run in runs for end in ("", "!", "0")), letters]


def _is_ours(file: Path) -> bool:
    """Whether a file exists and is of this user; others must not mark a tokenizer as passed."""
    try:
        read_own(file)
    except (OSError, ValueError):
        return False
    return True
