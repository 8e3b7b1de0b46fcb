"""From what a user typed (catalog name, folder, hub id) to where a model's files are."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, CATALOG, Entry
from dycoke_cli.models.weight_files import (
    READ_SUFFIXES,
    WHOLE,
    ReadJson,
    check_folder,
    check_references,
    loaded_files,
)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# What from_pretrained says, on 5.17.0 and 5.23.0, of a folder and of a repository.
_NO_SAFETENSORS = "file named model.safetensors"


@dataclass(frozen=True)
class Source:
    """Where a model's files are.

    Args:
        name: as it is reported.
        location: a local folder, or a hub id.
        entry: of the catalog, or None.
        local: whether `location` is a folder.
    """

    name: str
    location: str
    entry: Entry | None
    local: bool


def find(name: str) -> Source:
    """Find a model by catalog name, folder or hub id; nothing is downloaded.

    Raises:
        ModelError: nothing has this name, or the folder has no weights that can be loaded.
    """
    entry = CATALOG.get(name)
    if entry is not None:
        location = str(BUNDLED_CHECKPOINT) if entry.repo is None else entry.repo
        return Source(name, location, entry, local=entry.repo is None)
    if os.path.isdir(name):
        check_folder(Path(name))
        return Source(name, name, None, local=True)
    if os.path.exists(name):
        raise ModelError(f"{name!r} is a file; give the folder that holds the model")
    near = difflib.get_close_matches(name.lower(), CATALOG, n=1, cutoff=0.5)
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return Source(name, name, None, local=False)
    hint = f"did you mean {near[0]}?" if near else "`dycoke models` lists the names there are"
    raise ModelError(f"there is no model {name!r} and no such folder; {hint}")


def read_config(source: Source, revision: str | None = None) -> tuple[Any, str | None]:
    """Read a model's configuration; of a hub model, download that one file if need be.

    Returns:
        The `transformers` configuration, and the commit of a hub model (None for a folder).

    Raises:
        ModelError: it can't be read.
    """
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    from dycoke_cli.models.quiet import quiet_libraries
    from dycoke_cli.models.unknown_families import check_known

    with quiet_libraries(), explained(source, "its config.json"):
        if source.local:
            check_known(source.name, Path(source.location))
            return AutoConfig.from_pretrained(source.location, trust_remote_code=False), None
        path = Path(hf_hub_download(source.location, "config.json", revision=revision))
        check_known(source.name, path.parent)
        check_references(source.name, _reader(source.location, path.parent.name))
        config = AutoConfig.from_pretrained(path.parent, trust_remote_code=False)
        return config, path.parent.name


def fingerprint(source: Source, revision: str | None) -> str:
    """What changes when a model's files change: a hub model's commit, a folder's content.

    Args:
        source: the model.
        revision: its commit, where it is on the hub.
    """
    if revision is not None:
        return f"commit:{revision}"
    content = hashlib.sha256()
    for path in sorted(Path(source.location).iterdir()):
        if path.suffix in READ_SUFFIXES and path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            content.update(f"{path.name} {digest}\n".encode())
    return f"sha256:{content.hexdigest()}"


def stored_bytes(source: Source, revision: str | None) -> int | None:
    """Bytes of a model's weight files, without downloading any; None where nothing tells.

    Args:
        source: the model.
        revision: its commit, where it is on the hub.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if source.local:
        return sum(file.stat().st_size for file in loaded_files(Path(source.location)))
    repo, total = source.location, 0
    with explained(source, "its weights"):
        names = check_references(source.name, _reader(repo, str(revision))) or [WHOLE]
        for name in names:
            path = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(path, str):
                total += os.path.getsize(path)
                continue
            size = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision)).size
            if size is None:
                return None
            total += size
    return total


def _reader(repo: str, commit: str) -> ReadJson:
    """Reads small files of a hub model, which are downloaded if need be."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    def read(name: str) -> Any:
        path = try_to_load_from_cache(repo, name, revision=commit)
        if path is None:
            try:
                path = hf_hub_download(repo, name, revision=commit)
            except EntryNotFoundError:  # or the hub can't be reached: then loading finds none, too
                return None
        # What isn't a path says that the repository is known to have no such file.
        return json.loads(Path(path).read_text("utf-8")) if isinstance(path, str) else None

    return read


@contextmanager
def explained(source: Source, part: str) -> Iterator[None]:
    """Turn what the hub and the loaders raise into one sentence.

    Args:
        source: the model.
        part: what is being read of it.

    Raises:
        ModelError: in place of any of their errors.
    """
    try:
        yield
    except DycokeError:
        raise
    except Exception as error:
        raise ModelError(_sentence(source, part, error)) from error


def unreachable(error: BaseException) -> bool:
    """Whether an error of the hub client means that the hub couldn't be asked."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, (LocalEntryNotFoundError, ConnectionError, TimeoutError)):
        return True
    # By name: which package its client takes to connect depends on its version.
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _sentence(source: Source, part: str, error: BaseException) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = source.location
    # Asked for a file, the hub client hides this one in what it says about its cache.
    if isinstance(error.__cause__, RevisionNotFoundError):
        error = error.__cause__
    if isinstance(error, GatedRepoError):
        return f"{name} asks for a login; accept its licence on the hub and run `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no model {name!r}; see `dycoke models` for the names there are"
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no such revision; give a branch, tag or commit, or none for the newest"
    if not source.local and unreachable(error):
        return (
            f"{name} isn't on this machine and the hub can't be reached; connect once, or give "
            "a local folder with --model"
        )
    if _NO_SAFETENSORS in str(error):
        return (
            f"{name} has no weights as safetensors, the only format that is loaded; take a "
            "repository that has them, or convert them"
        )
    return f"{name} can't be loaded, {part} can't be read: {_first_sentence(error)}"


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(":. ")[:200]
