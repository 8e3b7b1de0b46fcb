"""Listing and removal of models in the hub client's cache; needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dycoke_cli.errors import ModelError
from dycoke_cli.models.files.weight_files import missing_parts

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo


@dataclass(frozen=True)
class Revision:
    """Revision of a repository in the hub client's cache."""

    commit: str  # its commit
    names: tuple[str, ...]  # branches and tags at the time of download
    folder: Path  # of its files
    complete: bool  # whether its configuration and all its weights are cached


@dataclass(frozen=True)
class CachedModel:
    """Model repository in the hub client's cache."""

    repo: str  # its hub id
    bytes: int  # of all its files
    revisions: tuple[Revision, ...]  # cached revisions, the newest first

    @property
    def complete(self) -> bool:
        """Whether the newest cached revision can be loaded."""
        return self.revisions[0].complete


def cached_models() -> dict[str, CachedModel]:
    """Models in the hub client's cache, by hub id; empty if there is no cache yet."""
    return {repo.repo_id: _cached_model(repo) for repo in _cached_repos()}


def _cached_repos() -> list[CachedRepoInfo]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return [repo for repo in repos if repo.repo_type == "model" and repo.revisions]


def _cached_model(repo: CachedRepoInfo) -> CachedModel:
    newest_first = sorted(repo.revisions, key=lambda revision: -revision.last_modified)
    return CachedModel(
        repo.repo_id,
        repo.size_on_disk,
        tuple(
            Revision(
                revision.commit_hash,
                tuple(sorted(revision.refs)),
                revision.snapshot_path,
                not missing_parts(revision.snapshot_path),
            )
            for revision in newest_first
        ),
    )


@dataclass(frozen=True)
class Removal:
    """Prepared removal of a model."""

    freed_bytes: int  # disk space that it frees
    execute: Callable[[], None]  # removes the files


def removal(repo: str) -> Removal:
    """Prepare to remove all revisions of a model from the hub client's cache."""
    from huggingface_hub import scan_cache_dir

    for cached in _cached_repos():
        if cached.repo_id == repo:
            commits = [revision.commit_hash for revision in cached.revisions]
            strategy = scan_cache_dir().delete_revisions(*commits)
            return Removal(strategy.expected_freed_size, strategy.execute)
    raise ModelError(
        f"{repo} isn't on this machine, so it can't be removed; `dycoke models` shows what is here"
    )
