"""Errors of the hub client and of the libraries that read a model's files, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.models.files.hub_client import check_hub_answers
from dycoke_cli.models.reference import ModelRef

# Part of the error of from_pretrained (5.17.0 and 5.23.0), for folders and repositories.
_NO_SAFETENSORS = "file named model.safetensors"


@contextmanager
def explained(source: ModelRef, part: str) -> Iterator[None]:
    """Convert errors of the hub client and the loaders to a `ModelError` with one sentence.

    Responses of the hub are validated from here on, too.
    """
    if not source.local:
        check_hub_answers()
    try:
        yield
    except (DycokeError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic in a Rust library isn't an Exception
        raise ModelError(_sentence(source, part, error)) from error


def unreachable(error: BaseException) -> bool:
    """Whether an error of the hub client means that the hub can't be reached."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # An HTTP status is an answer, even if the client then reports that the file isn't cached.
    if isinstance(error.__cause__, HfHubHTTPError):
        return False
    if isinstance(error, (LocalEntryNotFoundError, ConnectionError, TimeoutError)):
        return True
    # By name, because the HTTP package of the client depends on its version.
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _sentence(source: ModelRef, part: str, error: BaseException) -> str:
    """Text of the `ModelError` for an error, from the most specific cause to the least."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = source.location
    # Downloads of a single file report "not in the cache"; the hub's status is the cause of that.
    if isinstance(error.__cause__, HfHubHTTPError):
        error = error.__cause__
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: accept its licence on the hub and run `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the hub has no model {name!r}, or shows it to others alone (`hf auth login`); "
            "`dycoke models` lists all names"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no such revision; give a branch, tag or commit, or none for the newest"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return f"the hub refuses this machine's login; run `hf auth login` again for {name}"
        if status == 429 or status >= 500:
            return f"the hub doesn't serve {name} now (HTTP status {status}); try again later"
    if "CAS Client Error" in str(error) or type(error).__module__ == "hf_xet":
        return (
            f"{name} can't be downloaded from Xet, the hub's storage; try again later, or set "
            "HF_HUB_DISABLE_XET=1 to download it without (the files that are finished are kept)"
        )
    if not source.local and unreachable(error):
        begun = hub_folder(name).exists()
        return (
            f"{name} isn't{' all' if begun else ''} on this machine and the hub can't be reached; "
            "connect once, or give a local folder with --model"
        )
    if _NO_SAFETENSORS in str(error):
        return (
            f"{name} has no safetensors weights, the only format that is loaded; use a "
            "repository that has them, or convert them"
        )
    return f"{name} can't be loaded, {part} can't be read: {_first_sentence(error)}"


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(":. ")[:200]


def hub_folder(repo: str) -> Path:
    """Folder of a model in the hub client's cache; it may be incomplete or not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
