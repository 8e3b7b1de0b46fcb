"""Downloads models from the hub into the cache of the hub client; needs no torch.

A pull fetches one file after the other, so that Ctrl-C stops it immediately: the hub client's own
loop waits for its threads. A complete file is moved into place and survives an interruption. A
partial file is downloaded again, because the hub client can't resume it; the next pull removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.files.on_disk import check_tokenizer
from dycoke_cli.models.files.read_errors import explained, hub_folder, unreachable
from dycoke_cli.models.files.small_files import READ_SUFFIXES, TOKENIZER, check_small_files

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

_CONFIG = "config.json"
_READ: dict[str, Any] = {
    "allow_patterns": [f"*{suffix}" for suffix in READ_SUFFIXES],
    "ignore_patterns": "*/*",
}


@dataclass(frozen=True)
class DownloadPlan:
    """Planned download of a model."""

    source: ModelRef  # the model
    revision: str | None  # requested branch, tag or commit; None is the main branch
    commit: str  # that the revision points to now
    files: tuple[DryRunFileInfo, ...]  # all files that loading reads
    folder: Path  # of the hub client's cache

    @property
    def missing(self) -> tuple[DryRunFileInfo, ...]:
        """Files that aren't in the cache."""
        return tuple(file for file in self.files if file.will_download)

    @property
    def missing_bytes(self) -> int:
        """Size of the missing files."""
        return sum(file.file_size or 0 for file in self.missing)


def plan(source: ModelRef, revision: str | None = None) -> DownloadPlan:
    """Plan the download of a model, with sizes from the hub."""
    with _pull_explained(source):
        return _plan(source, revision)


def first_download(source: ModelRef) -> DownloadPlan:
    """Plan the download that loading a model starts with, and check the disk space."""
    with explained(source, "its files"):
        planned = _plan(source, None)
    check_space(planned)
    return planned


def _plan(source: ModelRef, revision: str | None) -> DownloadPlan:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import DryRunError

    _remove_partial_files(source.location)
    with _quiet(), open(os.devnull, "w") as nowhere:
        # By commit. Given a branch, the client would store that it points to this commit, although
        # its files aren't there yet; later runs would take the incomplete copy for the branch.
        commit = HfApi().model_info(source.location, revision=revision).sha
        try:
            files = snapshot_download(
                source.location,
                revision=commit,
                dry_run=True,
                tqdm_class=_counting(lambda received: None, nowhere),
                **_READ,
            )
        except DryRunError as error:
            raise error.__cause__ or error from None
    if not any(file.filename.endswith(".safetensors") for file in files):
        raise ModelError(
            f"{source.location} has no weights as safetensors, the only format that is loaded; "
            "choose another repository"
        )
    in_order = sorted(files, key=lambda file: file.filename)
    folder = Path(constants.HF_HUB_CACHE)
    return DownloadPlan(source, revision, in_order[0].commit_hash, tuple(in_order), folder)


def _remove_partial_files(repo: str) -> None:
    """Remove partial files of killed downloads.

    A running download holds the file's lock, so files whose lock is taken stay.
    """
    from filelock import FileLock, Timeout

    folder = hub_folder(repo)
    locks = folder.parent / ".locks" / folder.name
    for part in (folder / "blobs").glob("*.*.incomplete"):
        lock = locks / f"{part.name.rsplit('.', 2)[0]}.lock"
        with suppress(OSError, Timeout), FileLock(lock, timeout=0):
            part.unlink(missing_ok=True)


def check_space(planned: DownloadPlan) -> None:
    """Check that the missing files fit on the disk."""
    # The cache folder may not exist yet; its nearest existing parent is on the same disk.
    place = planned.folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if planned.missing_bytes > free:
        raise OutputError(
            f"{planned.source.location} needs {planned.missing_bytes / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free at {place}; free some space, or set HF_HOME to a folder "
            "on a larger disk"
        )


def pull_config(source: ModelRef, revision: str | None = None) -> Path:
    """Download only the config.json of a model, unless it is in the cache."""
    from huggingface_hub import hf_hub_download

    with explained(source, "its config.json"), _quiet():
        return Path(hf_hub_download(source.location, _CONFIG, revision=revision)).parent


def small_files(source: ModelRef, revision: str | None) -> Path:
    """Download all files of a model that loading reads except its weights, unless cached."""
    from huggingface_hub import snapshot_download

    small = [pattern for pattern in _READ["allow_patterns"] if pattern != "*.safetensors"]
    with explained(source, "its files"), _quiet():
        return Path(
            snapshot_download(
                source.location, revision=revision, **{**_READ, "allow_patterns": small}
            )
        )


def pull(planned: DownloadPlan, on_bytes: Callable[[int], None]) -> None:
    """Download the missing files.

    Args:
        on_bytes: called with the number of bytes received so far, over all missing files.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    repo, done = planned.source.location, 0
    with _pull_explained(planned.source), _quiet(), open(os.devnull, "w") as nowhere:
        for file in planned.missing:
            bar = _counting(partial(_add, on_bytes, done), nowhere)
            hf_hub_download(repo, file.filename, revision=planned.commit, tqdm_class=bar)
            done += file.file_size or 0
            on_bytes(done)
        # All files are there, so this only stores that the revision points to this commit. From now
        # on it is found without the hub.
        bar = _counting(lambda received: None, nowhere)
        snapshot_download(repo, revision=planned.revision, tqdm_class=bar, **_READ)


def check_pulled(planned: DownloadPlan) -> None:
    """Run the checks of loading on a pulled model, so that errors don't wait for the first use."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(planned.source.location, _CONFIG, revision=planned.commit)
    if isinstance(config, str):
        folder = Path(config).parent
        check_small_files(planned.source.name, folder)
        check_tokenizer(planned.source.name, folder / TOKENIZER)


def _add(on_bytes: Callable[[int], None], before: int, received: int) -> None:
    on_bytes(before + received)


def _counting(on_bytes: Callable[[int], None], nowhere: IO[str]) -> type:
    """Class of invisible progress bars for the hub client, which reports progress only that way.

    Args:
        on_bytes: called with the number of bytes of the file received so far.
    """
    from tqdm import tqdm

    bars: list[Any] = []

    class Counting(tqdm):
        monitor_interval = 0  # tqdm starts no monitor thread

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "file": nowhere})
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            # A file from Xet storage has two bars: bytes received, and bytes written.
            on_bytes(int(max(bar.n for bar in bars)))
            return shown

    return Counting


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the hub client within the block; its errors are reported by us."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _pull_explained(source: ModelRef) -> Iterator[None]:
    """Convert errors of the hub client to one sentence; see `read_errors.explained`."""
    with explained(source, "its files"):
        try:
            yield
        except Exception as error:
            if _no_space(error):
                raise OutputError(
                    f"the disk is full; free some space and pull {source.name} again (the files "
                    "that are finished are kept)"
                ) from error
            if unreachable(error):
                raise _offline(source) from error
            raise


def _no_space(error: Exception) -> bool:
    """Whether the disk is full; the Xet library reports that only in the text of its error."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in full
    return any(f"(os error {number})" in str(error) for number in full)


def _offline(source: ModelRef) -> ModelError:
    return ModelError(
        f"{source.location} can't be pulled, for the hub can't be reached; connect, and unset "
        "HF_HUB_OFFLINE if it is set (the files that are finished are kept)"
    )
