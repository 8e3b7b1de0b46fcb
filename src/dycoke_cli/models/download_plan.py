"""What a download of a model would fetch: only the files that loading reads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.pull_errors import pull_explained
from dycoke_cli.models.resolve import Source
from dycoke_cli.models.weight_files import READ_SUFFIXES


@dataclass(frozen=True)
class File:
    """A file of a repository.

    Args:
        name: at the top of the repository.
        bytes: its size.
        here: whether it is in the cache already.
    """

    name: str
    bytes: int
    here: bool


@dataclass(frozen=True)
class Plan:
    """What a download would fetch.

    Args:
        source: the model.
        revision: branch, tag or commit that was asked for; None is the main branch.
        commit: what it stands for now.
        files: all files that loading reads.
        folder: of the hub client's cache.
    """

    source: Source
    revision: str | None
    commit: str
    files: tuple[File, ...]
    folder: Path

    @property
    def missing(self) -> tuple[File, ...]:
        """The files that have to be fetched."""
        return tuple(file for file in self.files if not file.here)

    @property
    def missing_bytes(self) -> int:
        """Their size."""
        return sum(file.bytes for file in self.missing)


def plan(source: Source, revision: str | None = None) -> Plan:
    """Ask the hub what there is to download.

    Args:
        source: a model of the hub.
        revision: branch, tag or commit.

    Raises:
        ModelError: the hub can't be reached, or has no such model, revision or weights.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    repo = source.location
    with pull_explained(source):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        files = tuple(
            File(
                sibling.rfilename,
                sibling.size or 0,
                isinstance(try_to_load_from_cache(repo, sibling.rfilename, revision=info.sha), str),
            )
            for sibling in info.siblings or []
            if "/" not in sibling.rfilename and sibling.rfilename.endswith(READ_SUFFIXES)
        )
    if not any(file.name.endswith(".safetensors") for file in files):
        raise ModelError(
            f"{repo} has no weights as safetensors, the only format that is loaded; choose another "
            "repository"
        )
    return Plan(source, revision, str(info.sha), files, Path(constants.HF_HUB_CACHE))


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
