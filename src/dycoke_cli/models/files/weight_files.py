"""Weight files of a checkpoint: only safetensors inside its folder are accepted.

`from_pretrained(use_safetensors=True)` only determines the name of the index or file. The index may
list files of any format anywhere, and a pickle file would run code. So every reference to weights
is checked before anything is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from dycoke_cli.errors import ModelError
from dycoke_cli.models.files.small_files import (
    CONFIG,
    check_small_files,
    is_inside,
    read_json,
)
from dycoke_cli.storage.lfs_pointer import LFS_POINTER, is_lfs_pointer

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
READ_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Suffixes of the files that loading reads."""

_PROCESSOR = "processor_config.json"
# Files that make transformers load additional weights, of any format and from any place.
_ADAPTER = "adapter_config.json"
_AUDIO_TOKENIZER = "audio_tokenizer_config.json"
_LONGEST_NAME = 200
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NAMED_FILE = "transformers_weights"  # key of a configuration
_HAS_ADAPTER = (
    f"{{}} has an adapter ({_ADAPTER}), which isn't supported; merge it into its base model and "
    "give that"
)
NOT_GGUF = (
    "whose format is that of llama.cpp, which isn't read; give the model in transformers' format "
    "(config.json and safetensors)"
)
"""Rest of a sentence about such a file."""

ReadJson = Callable[[str], Any]
"""Maps a file name to the file's JSON content, or None if there is no such file."""


def check_folder(folder: Path) -> None:
    """Check that a folder contains a complete model with safetensors weights."""
    shown = f"the folder {str(folder)!r}"
    if not (folder / CONFIG).is_file():
        raise ModelError(_no_model(shown, folder))
    check_small_files(shown, folder)
    for path in sorted(folder.glob("*.safetensors")):
        if path.exists() and not path.is_file():
            raise ModelError(f"{path.name} in {shown} isn't a regular file; replace it by one")
        if is_lfs_pointer(path):
            raise ModelError(f"{shown} can't be loaded: its {path.name} {LFS_POINTER}")
    files = [folder / name for name in check_references(shown, _folder_reader(folder))]
    whole = folder / WHOLE
    if whole.exists():  # which transformers prefers to an index
        files = [] if _NAMED_FILE not in read_json(folder / CONFIG) else files
    elif not files:
        raise ModelError(_no_weights(shown, folder))
    _check_present(shown, folder, files)
    for file in [*files, *([whole] if whole.exists() else [])]:
        if not is_inside(file, folder):
            raise ModelError(
                f"{shown} has a weight file that is a link out of it, {file.name}; replace the "
                "link by the file"
            )


def _no_model(shown: str, folder: Path) -> str:
    """Why a folder without a configuration isn't a model."""
    if (folder / _ADAPTER).is_file():
        return _HAS_ADAPTER.format(shown)
    if found := next(folder.glob("*.gguf"), None):
        return f"{shown} has {found.name}, {NOT_GGUF}"
    if snapshots := sorted(folder.glob(f"snapshots/*/{CONFIG}")):
        place = snapshots[-1].parent
        return f"{shown} is a model of the hub's cache; its files are in the folder {str(place)!r}"
    return f"{shown} has no {CONFIG}, so it isn't a model"


def _no_weights(shown: str, folder: Path) -> str:
    """What a folder has in place of weights that are loaded."""
    if found := next(folder.glob("*.gguf"), None):
        return f"{shown} has its weights as {found.name}, {NOT_GGUF}"
    if any(next(folder.glob(pattern), None) for pattern in _OTHER_WEIGHTS):
        return (
            f"{shown} has weights, but not as safetensors, the only format that is loaded; "
            "convert them"
        )
    if any(folder.glob("*.safetensors")):
        return (
            f"{shown} has weight files, but neither {WHOLE} nor the list of its weight files, "
            f"{INDEX}; download that, too"
        )
    return f"{shown} has no weights (*.safetensors)"


def check_references(shown: str, read: ReadJson) -> list[str]:
    """Check that the files of a model refer only to safetensors of the model."""
    if read(_ADAPTER) is not None:
        raise ModelError(_HAS_ADAPTER.format(shown))
    processor = read(_PROCESSOR)
    if read(_AUDIO_TOKENIZER) is not None or (
        isinstance(processor, dict) and "audio_tokenizer" in processor
    ):
        raise ModelError(f"{shown} needs an audio tokenizer, which isn't supported")
    config = read(CONFIG)
    first = config.get(_NAMED_FILE) if isinstance(config, dict) else None
    if first is not None and not str(first).endswith(".index.json"):
        return [_checked(shown, CONFIG, first)]
    return shards(shown, read, INDEX if first is None else _checked(shown, CONFIG, first))


def shards(shown: str, read: ReadJson, index: str = INDEX) -> list[str]:
    """Weight files listed in an index; empty if there is no index."""
    try:
        content = read(index)
        if content is None:
            return []
        names = {str(name) for name in content["weight_map"].values()}
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{shown} has an index of its weights, {index}, that can't be read; download it again"
        ) from error
    return [_checked(shown, index, name) for name in sorted(names)]


def loaded_files(folder: Path) -> list[Path]:
    """Weight files of a local model that `from_pretrained` loads."""
    named = check_references(f"the folder {str(folder)!r}", _folder_reader(folder))
    config = read_json(folder / CONFIG)
    if _NAMED_FILE not in config and (folder / WHOLE).exists():
        return [folder / WHOLE]  # transformers prefers it to an index
    return [folder / name for name in named] or sorted(folder.glob("*.safetensors"))


def stored_bytes(name: str, location: str, revision: str | None, *, local: bool) -> int | None:
    """Bytes of a model's weight files, without downloading any; None if unknown."""
    if local:
        return sum(file.stat().st_size for file in loaded_files(Path(location)))
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    total = 0
    for file in check_references(name, hub_reader(location, str(revision))) or [WHOLE]:
        path = try_to_load_from_cache(location, file, revision=revision)
        # A cached file needs no request, so a complete model is checked offline.
        if isinstance(path, str):
            total += os.path.getsize(path)
            continue
        size = get_hf_file_metadata(hf_hub_url(location, file, revision=revision)).size
        if size is None:
            return None
        total += size
    return total


def missing_parts(folder: Path) -> list[str]:
    """Names of required files that a folder lacks: config.json and the weights."""
    wanted = [CONFIG, WHOLE]
    index = folder / INDEX
    if index.exists() and not (folder / WHOLE).exists():
        try:
            wanted[1:] = shards(str(folder), lambda name: read_json(folder / name))
        except ModelError:
            return [INDEX]
    return [name for name in wanted if not (folder / name).exists()]


def hub_reader(repo: str, commit: str) -> ReadJson:
    """Reader of a hub model's small files, which downloads missing ones."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    def read(name: str) -> Any:
        path = try_to_load_from_cache(repo, name, revision=commit)
        if path is None:
            try:
                path = hf_hub_download(repo, name, revision=commit)
            # Unreachable hub and deleted commit included: loading won't find the file either.
            except (EntryNotFoundError, RevisionNotFoundError):
                return None
        # Anything but a path is a marker: the cache knows that the repository lacks the file.
        return read_json(Path(path)) if isinstance(path, str) else None

    return read


def _checked(shown: str, where: str, name: Any) -> str:
    path = PurePosixPath(str(name))
    if len(str(name)) > _LONGEST_NAME or not str(name).isprintable():
        raise ModelError(
            f"{shown} has a weight file with a name that no real one has ({where} names "
            f"{str(name)[:40]!r}…); download it again"
        )
    if path.is_absolute() or ".." in path.parts or any(sign in str(name) for sign in "\\:"):
        raise ModelError(
            f"{shown} has weights outside its folder ({where} names {str(name)!r}), which are "
            "never loaded; put them into it"
        )
    if not str(name).endswith((".safetensors", ".safetensors.index.json")):
        raise ModelError(
            f"{shown} has weights that aren't safetensors ({where} names {str(name)!r}), the only "
            "format that is loaded; convert them"
        )
    return str(name)


def _check_present(shown: str, folder: Path, files: list[Path]) -> None:
    missing = [file.relative_to(folder) for file in files if not file.exists()]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{shown} lacks the weight file {missing[0]}{others}; download it again")
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file.name} in {shown} isn't a regular file; replace it by one")


def _folder_reader(folder: Path) -> ReadJson:
    def read(name: str) -> Any:
        path = folder / name
        if not path.is_file():
            return None
        try:
            return read_json(path)
        except ValueError:
            if name.endswith(".index.json"):
                raise
            return {}  # loading the file reports the error

    return read
