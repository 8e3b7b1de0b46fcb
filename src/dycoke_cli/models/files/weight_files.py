"""Which files hold the weights of a checkpoint: safetensors inside its folder, and nothing else.

`from_pretrained(use_safetensors=True)` asks for an index or a file of that name alone: an index may
name files of any format in any place, and a pickled one is then unpickled. So all that could lead
anywhere else is checked here, before anything is loaded.
"""

from __future__ import annotations

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

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
READ_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Of the files that loading reads."""

_PROCESSOR = "processor_config.json"
# What makes transformers load more weights, from wherever these files say, in any format.
_ADAPTER = "adapter_config.json"
_AUDIO_TOKENIZER = "audio_tokenizer_config.json"
_LONGEST_NAME = 200
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.ckpt")

ReadJson = Callable[[str], Any]
"""From the name of a file to its content as JSON, None where there is no such file."""


def check_folder(folder: Path) -> None:
    """Check that a folder is a model whose weights are safetensors inside it.

    Raises:
        ModelError: it isn't, or a file is missing.
    """
    shown = f"the folder {str(folder)!r}"
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{shown} has no config.json, so it isn't a model")
    check_small_files(shown, folder)
    for path in sorted(folder.glob("*.safetensors")):
        if path.exists() and not path.is_file():
            raise ModelError(f"{path.name} in {shown} isn't a regular file; replace it by one")
    files = [folder / name for name in check_references(shown, _folder_reader(folder))]
    if not files and not any(folder.glob("*.safetensors")):
        if any(next(folder.glob(pattern), None) for pattern in _OTHER_WEIGHTS):
            raise ModelError(
                f"{shown} has weights, but not as safetensors, the only format that is loaded; "
                "convert them"
            )
        raise ModelError(f"{shown} has no weights (*.safetensors)")
    _check_present(shown, folder, files)
    whole = folder / WHOLE
    for file in [*files, *([whole] if whole.exists() else [])]:
        if not is_inside(file, folder):
            raise ModelError(
                f"{shown} has a weight file that is a link out of it, {file.name}; replace the "
                "link by the file"
            )


def check_references(shown: str, read: ReadJson) -> list[str]:
    """Check that the files of a model refer to no weights but its own safetensors.

    Args:
        shown: the model, as sentences begin with.
        read: reads a file of it.

    Returns:
        The shards that its index names, or the file that its configuration names; none where
        there is neither.

    Raises:
        ModelError: they do, or one can't be read.
    """
    if read(_ADAPTER) is not None:
        raise ModelError(
            f"{shown} has an adapter ({_ADAPTER}), which isn't supported; merge it into its base "
            "model and give that"
        )
    processor = read(_PROCESSOR)
    if read(_AUDIO_TOKENIZER) is not None or (
        isinstance(processor, dict) and "audio_tokenizer" in processor
    ):
        raise ModelError(f"{shown} needs an audio tokenizer, which isn't supported")
    config = read(CONFIG)
    first = config.get("transformers_weights") if isinstance(config, dict) else None
    if first is not None and not str(first).endswith(".index.json"):
        return [_checked(shown, CONFIG, first)]
    return shards(shown, read, INDEX if first is None else _checked(shown, CONFIG, first))


def shards(shown: str, read: ReadJson, index: str = INDEX) -> list[str]:
    """The weight files that an index names; none where there is no index.

    Args: as of `check_references`.

    Raises:
        ModelError: it can't be read, or names something other than a safetensors file inside the
            model.
    """
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
    """The weight files of a local model that `from_pretrained` loads.

    Raises:
        ModelError: as of `check_references`.
    """
    named = check_references(f"the folder {str(folder)!r}", _folder_reader(folder))
    config = read_json(folder / CONFIG)
    if "transformers_weights" not in config and (folder / WHOLE).exists():
        return [folder / WHOLE]  # it comes before an index
    return [folder / name for name in named] or sorted(folder.glob("*.safetensors"))


def missing_parts(folder: Path) -> list[str]:
    """Names of files without which the model in a folder can't be loaded."""
    wanted = [CONFIG, WHOLE]
    index = folder / INDEX
    if index.exists():
        try:
            wanted[1:] = shards(str(folder), lambda name: read_json(folder / name))
        except ModelError:
            return [INDEX]
    return [name for name in wanted if not (folder / name).exists()]


def hub_reader(repo: str, commit: str) -> ReadJson:
    """Reads small files of a hub model, which are downloaded if need be.

    Args:
        repo: its hub id.
        commit: its commit.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    def read(name: str) -> Any:
        path = try_to_load_from_cache(repo, name, revision=commit)
        if path is None:
            try:
                path = hf_hub_download(repo, name, revision=commit)
            # Or the hub can't be reached, or has this commit no more: then loading finds none, too.
            except (EntryNotFoundError, RevisionNotFoundError):
                return None
        # What isn't a path says that the repository is known to have no such file.
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
            return {}  # whoever loads it says what is wrong

    return read
