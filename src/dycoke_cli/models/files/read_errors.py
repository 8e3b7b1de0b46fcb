"""Errors of the hub client and of the libraries that read a model's files, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.files.hub_client import check_hub_answers
from dycoke_cli.models.files.small_files import missing_parts

# Parts of errors of from_pretrained (5.17.0 and 5.23.0), for folders and repositories.
_CAUSES = {
    "file named model.safetensors": "has no safetensors weights, the only format that is loaded; "
    "use a repository that has them, or convert them",
    "instantiate the backend tokenizer": "has no file that its tokenizer can be made of, as "
    "tokenizer.json; download it again",
    "load image processor for": "has neither processor_config.json nor preprocessor_config.json, "
    "which say how its frames are prepared; download it again",
}
_CUT_OFF = "Error while deserializing header"  # of safetensors


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
        return f"{_here(name)} and the hub can't be reached; connect once, or {_instead(name)}"
    for part_of_error, what in _CAUSES.items():
        if part_of_error in str(error):
            return f"{name} {what}"
    if _CUT_OFF in str(error):
        again = "copy or download it again"
        if not source.local:
            again = f"`dycoke models rm {name}` and `dycoke models pull {name}` download it again"
        return f"{name} has a weight file that is cut off or damaged{_damaged(source)}; {again}"
    return f"{name} can't be loaded, {part} can't be read: {_first_sentence(error)}"


def _snapshots(repo: str) -> list[Path]:
    """Revisions of a model in the hub client's cache, the newest last."""
    found = hub_folder(repo).glob("snapshots/*")
    return sorted(found, key=lambda folder: folder.stat().st_mtime)


def _whole(repo: str) -> Path | None:
    """A revision all of whose weights are in the hub client's cache."""
    return next((one for one in _snapshots(repo) if not missing_parts(one)), None)


def _here(repo: str) -> str:
    """What is on this machine of a model that isn't found there."""
    if not hub_folder(repo).exists():
        return f"{repo} isn't on this machine"
    if whole := _whole(repo):
        return (
            f"{repo} is on this machine as commit {whole.name}, but the hub's cache doesn't say "
            "that the revision is this one (its refs are missing or wrong)"
        )
    lacks = [name for one in _snapshots(repo)[-1:] for name in missing_parts(one)[:1]]
    return f"{repo} isn't all on this machine{' (it lacks ' + lacks[0] + ')' if lacks else ''}"


def _instead(repo: str) -> str:
    """What works without the hub."""
    whole = _whole(repo)
    return f"add --revision {whole.name}" if whole else "give a local folder with --model"


def _damaged(source: ModelRef) -> str:
    """The first weight file of a model that can't be opened, in parentheses."""
    from safetensors import SafetensorError, safe_open

    folders = [Path(source.location)] if source.local else _snapshots(source.location)
    for path in (path for folder in folders for path in sorted(folder.glob("*.safetensors"))):
        try:
            with safe_open(path, "pt"):
                pass
        except (OSError, SafetensorError):
            return f" ({path.name})"
    return ""


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(":. ")[:200]


def hub_folder(repo: str) -> Path:
    """Folder of a model in the hub client's cache; it may be incomplete or not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
