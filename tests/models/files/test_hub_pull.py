"""What a download may meet on this machine; tests/cli/commands/test_pull.py has the hub's side."""

import errno
from dataclasses import replace

import pytest
from filelock import FileLock
from huggingface_hub import DryRunFileInfo

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files import hub
from dycoke_cli.models.files.hub import DownloadPlan, pull


def file(name, size, here):
    return DryRunFileInfo(
        commit_hash="c" * 40,
        file_size=size,
        filename=name,
        local_path="",
        is_cached=here,
        will_download=not here,
    )


@pytest.fixture
def planned():
    files = (file("config.json", 100, True), file("model.safetensors", 3 * 10**9, False))
    return DownloadPlan(find("me/mine"), None, "c" * 40, files)


def test_parts_of_files_are_removed_unless_they_are_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    blobs, locks = tmp_path / "models--me--mine/blobs", tmp_path / ".locks/models--me--mine"
    blobs.mkdir(parents=True)
    # A file; a part that an old client resumes; two parts, one of them of a download elsewhere.
    for name in ("aa", "bb.incomplete", "cc.0123abcd.incomplete", "dd.0123abcd.incomplete"):
        (blobs / name).write_bytes(b"1")
    locks.mkdir(parents=True)
    with FileLock(locks / "dd.lock"):
        hub._remove_partial_files("me/mine")
    left = sorted(path.name for path in blobs.iterdir())
    assert left == ["aa", "bb.incomplete", "dd.0123abcd.incomplete"]
    hub._remove_partial_files("me/mine")
    assert sorted(path.name for path in blobs.iterdir()) == left[:2]
    hub._remove_partial_files("me/other")


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left"), OutputError, "the disk is full; free some space"),
        (
            RuntimeError("Task error: IO Error: No space left on device (os error 28)"),
            OutputError,
            "the disk is full; free some space",
        ),
        (RuntimeError("Task error: CAS Client Error"), ModelError, "can't be downloaded from Xet"),
        (ConnectionResetError(), ModelError, "isn't on this machine and the hub can't be"),
        (TimeoutError(), ModelError, "isn't on this machine and the hub can't be"),
        (OSError(errno.EACCES, "Permission denied"), ModelError, "its files can't be read"),
        (KeyError("no such thing"), ModelError, "its files can't be read"),
    ],
)
def test_what_may_happen_while_it_downloads(planned, monkeypatch, error, kind, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(kind, match=sentence):
        pull(planned)


def test_what_is_missing_is_fetched_by_its_commit(planned, monkeypatch):
    planned = replace(planned, revision="v1")
    fetched, named = [], []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda repo, name, *, revision: fetched.append((name, revision)),
    )
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, *, revision, **_: named.append(revision)
    )
    pull(planned)
    assert fetched == [("model.safetensors", planned.commit)]
    assert named == ["v1"]  # by its name, so that it is known without the hub
