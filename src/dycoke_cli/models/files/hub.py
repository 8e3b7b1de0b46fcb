"""Downloads models from the hub, into the cache of its client.

A pull fetches files one after the other, so that Ctrl-C ends it at once (the hub client's own loop
waits for its threads). Each is moved into place when it is whole. What was finished when it was
interrupted is kept; the file it was at starts again, for the hub client resumes no parts, and the
next pull removes what a killed one left of them. Needs no torch.
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
from dycoke_cli.models.files.small_files import TOKENIZER, check_small_files
from dycoke_cli.models.files.tokenizer_trial import check_tokenizer
from dycoke_cli.models.files.weight_files import READ_SUFFIXES
from dycoke_cli.models.resolve import ModelRef, explained, hub_folder, unreachable

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

_CONFIG = "config.json"
_READ: dict[str, Any] = {
    "allow_patterns": [f"*{suffix}" for suffix in READ_SUFFIXES],
    "ignore_patterns": "*/*",
}


@dataclass(frozen=True)
class Plan:
    """What a download would fetch.

    Args:
        source: the model.
        revision: branch, tag or commit that was asked for; None is the main branch.
        commit: that it points to now.
        files: all files that loading reads.
        folder: of the hub client's cache.
    """

    source: ModelRef
    revision: str | None
    commit: str
    files: tuple[DryRunFileInfo, ...]
    folder: Path

    @property
    def missing(self) -> tuple[DryRunFileInfo, ...]:
        """The files that have to be fetched."""
        return tuple(file for file in self.files if file.will_download)

    @property
    def missing_bytes(self) -> int:
        """Their size."""
        return sum(file.file_size or 0 for file in self.missing)


def plan(source: ModelRef, revision: str | None = None) -> Plan:
    """Ask the hub what there is to download.

    Args:
        source: a model of the hub.
        revision: branch, tag or commit.

    Raises:
        ModelError: the hub can't be reached, or has no such model, revision or weights.
    """
    with _pull_explained(source):
        return _plan(source, revision)


def first_download(source: ModelRef) -> Plan:
    """What loading a model that isn't here will download first.

    Args:
        source: a model of the hub.

    Raises:
        ModelError: the hub can't be reached, or has no such model or weights.
        OutputError: there is no room for it.
    """
    with explained(source, "its files"):
        planned = _plan(source, None)
    check_space(planned)
    return planned


def _plan(source: ModelRef, revision: str | None) -> Plan:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import DryRunError

    _remove_parts(source.location)
    with _quiet(), open(os.devnull, "w") as nowhere:
        # By its commit: else the client would note already that the name stands for it.
        commit = HfApi().model_info(source.location, revision=revision).sha
        try:
            files = snapshot_download(
                source.location,
                revision=commit,
                dry_run=True,
                tqdm_class=_counting(lambda come: None, nowhere),
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
    return Plan(source, revision, in_order[0].commit_hash, tuple(in_order), folder)


def _remove_parts(repo: str) -> None:
    """Remove the parts of files that killed downloads left, but for those that go on elsewhere."""
    from filelock import FileLock, Timeout

    folder = hub_folder(repo)
    locks = folder.parent / ".locks" / folder.name
    for part in (folder / "blobs").glob("*.*.incomplete"):
        lock = locks / f"{part.name.rsplit('.', 2)[0]}.lock"
        with suppress(OSError, Timeout), FileLock(lock, timeout=0):
            part.unlink(missing_ok=True)


def check_space(planned: Plan) -> None:
    """Check that what is missing fits on the disk.

    Raises:
        OutputError: it doesn't.
    """
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
    """Download the config.json of a model alone, unless it is in the cache.

    Args:
        source: a model of the hub.
        revision: branch, tag or commit.

    Returns:
        The folder that it is in.

    Raises:
        ModelError: it isn't here and the hub can't be reached, or has no such model or revision.
    """
    from huggingface_hub import hf_hub_download

    with explained(source, "its config.json"), _quiet():
        return Path(hf_hub_download(source.location, _CONFIG, revision=revision)).parent


def small_files(source: ModelRef, revision: str | None) -> Path:
    """Download all files of a model that loading reads but its weights, unless they are here.

    Args:
        source: a model of the hub.
        revision: its commit.

    Returns:
        The folder that they are in.

    Raises:
        ModelError: they aren't all here and the hub can't be reached.
    """
    from huggingface_hub import snapshot_download

    small = [pattern for pattern in _READ["allow_patterns"] if pattern != "*.safetensors"]
    with explained(source, "its files"), _quiet():
        return Path(
            snapshot_download(
                source.location, revision=revision, **{**_READ, "allow_patterns": small}
            )
        )


def pull(planned: Plan, on_bytes: Callable[[int], None]) -> None:
    """Download what is missing.

    Args:
        planned: what to fetch.
        on_bytes: called with the bytes that have come so far, of all missing files.

    Raises:
        ModelError: the hub can't be reached, or wants a login; what is finished is kept.
        OutputError: the disk is full.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    repo, done = planned.source.location, 0
    with _pull_explained(planned.source), _quiet(), open(os.devnull, "w") as nowhere:
        for file in planned.missing:
            bar = _counting(partial(_add, on_bytes, done), nowhere)
            hf_hub_download(repo, file.filename, revision=planned.commit, tqdm_class=bar)
            done += file.file_size or 0
            on_bytes(done)
        # By the name that was asked for: from now on all of it is found without the hub.
        bar = _counting(lambda come: None, nowhere)
        snapshot_download(repo, revision=planned.revision, tqdm_class=bar, **_READ)


def check_pulled(planned: Plan) -> None:
    """Check what was pulled, as loading does, so that nothing of it waits for the first question.

    Raises:
        ModelError: a file of it can't be loaded; see `small_files` and `tokenizer_trial`.
    """
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(planned.source.location, _CONFIG, revision=planned.commit)
    if isinstance(config, str):
        folder = Path(config).parent
        check_small_files(planned.source.name, folder)
        check_tokenizer(planned.source.name, folder / TOKENIZER)


def _add(on_bytes: Callable[[int], None], before: int, come: int) -> None:
    on_bytes(before + come)


def _counting(on_bytes: Callable[[int], None], nowhere: IO[str]) -> type:
    """A class of bars for the hub client that shows nothing, and says how far one file is.

    Args:
        on_bytes: called with the bytes of the file that have come.
        nowhere: where the bars are drawn.
    """
    from tqdm import tqdm

    bars: list[Any] = []

    class Counting(tqdm):
        monitor_interval = 0  # no thread beside it

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "file": nowhere})
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            # Some files have two: bytes that were received, and bytes that were written.
            on_bytes(int(max(bar.n for bar in bars)))
            return shown

    return Counting


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the hub client: what matters becomes our error."""
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
    """Turn what the hub client raises into one sentence; see `resolve.explained`.

    Raises:
        OutputError: the disk is full.
        ModelError: in place of any other error.
    """
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
    """Whether the disk is full; the library for Xet has no error of its own for that."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in full
    return any(f"(os error {number})" in str(error) for number in full)


def _offline(source: ModelRef) -> ModelError:
    return ModelError(
        f"{source.location} can't be pulled, for the hub can't be reached; connect, and unset "
        "HF_HUB_OFFLINE if it is set (the files that are finished are kept)"
    )
