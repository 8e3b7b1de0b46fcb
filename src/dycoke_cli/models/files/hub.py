"""Models of the hub: found, downloaded into the hub client's cache, and checked; needs no torch.

The hub client derives file names from responses (a file's ETag is the name of its blob, a commit
the name of a folder) and accepts any text, including absolute paths and `../../x`: they are checked
here. Weights are fetched one after the other, so that Ctrl-C stops it immediately: the client's own
loop waits for its threads. A complete file is moved into place and survives an interruption. A
partial file is downloaded again, because the client can't resume it; the next pull removes it.
"""

from __future__ import annotations

import errno
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from dycoke_cli.answer.json_schema import Bounds, Count, Doc
from dycoke_cli.errors import DycokeError, ModelError, OutputError
from dycoke_cli.models.catalog import ModelRef, published, published_names
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.files.small_files import (
    CONFIG,
    READ_SUFFIXES,
    TOKENIZER,
    UnreadableError,
    check_settings,
    check_small_files,
    check_tokenizer,
    is_complete,
    read_json,
    values_in,
    weight_files,
)
from dycoke_cli.storage.limited_http import IS_FILE, LimitError, limiting

# Parts of errors of from_pretrained (5.17.0 and 5.23.0), for folders and repositories.
_CAUSES = {
    "model.safetensors": "has no safetensors weights, the only format that is loaded; "
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
        if _is_full(error):
            raise OutputError(
                "the disk is full; free some space, or set HF_HOME to a folder on another one, and "
                f"pull {source.name} again (the files that are finished are kept)"
            ) from error
        raise ModelError(_sentence(source, part, error)) from error


def _is_full(error: BaseException) -> bool:
    """Whether the disk is full; the Xet library tells it only in the text of its error."""
    full = (errno.ENOSPC, errno.EDQUOT)
    by_xet = any(f"(os error {number})" in str(error) for number in full)
    return by_xet or (isinstance(error, OSError) and error.errno in full)


def _unreachable(error: BaseException) -> bool:
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
    if not source.local and _unreachable(error):
        part = ", or not all of it," if hub_folder(name).exists() else ""
        return (
            f"{name} isn't on this machine{part} and the hub can't be reached; connect (and unset "
            f"HF_HUB_OFFLINE if it is set), or give a local folder with {source.flag}"
        )
    for part_of_error, what in _CAUSES.items():
        if part_of_error in str(error):
            return f"{name} {what}"
    if _CUT_OFF in str(error):
        again = "copy or download it again"
        if not source.local:
            again = f"`hf cache rm model/{name}` and `dycoke models pull {name}` download it again"
        return f"{name} has a weight file that is cut off or damaged; {again}"
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0].split(". ")[0].rstrip(":. ")[:200]
    return f"{name} can't be loaded, {part} can't be read: {first}"


def hub_folder(repo: str) -> Path:
    """Folder of a model in the hub client's cache; it may be incomplete or not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


SECONDS, BOUNDS = 300.0, Bounds()
"""Limits on the hub's documents and errors; files are limited by the disk."""

# Headers and JSON keys whose value becomes the name of one file or folder.
_HEADERS = ("x-repo-commit", "x-linked-etag", "x-xet-hash")
_NAMES = ("sha", "oid", "blobId", "xetHash")
_PATHS = ("path", "rfilename")


@functools.cache
def check_hub_answers() -> None:
    """Install limits and validation in the hub client, for the rest of this process.

    A response that exceeds a limit, or names a file outside the client's cache, raises a
    `ModelError`.
    """
    from huggingface_hub import get_session, set_client_factory

    stock = get_session()
    kind: Any = type(stock)

    class LimitedClient(kind):
        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            request.extensions = {**request.extensions, IS_FILE: stream}
            try:
                return super().send(request, stream=stream, **options)
            except LimitError as error:
                raise ModelError(
                    f"what the hub at {request.url.host} sends isn't read, because {error}; check "
                    "HF_ENDPOINT"
                ) from error

    limits = limiting(SECONDS, BOUNDS)
    limits["response"].append(_check_response)
    set_client_factory(
        lambda: LimitedClient(
            event_hooks={
                kind: [*hooks, *limits[kind]] for kind, hooks in stock.event_hooks.items()
            },
            follow_redirects=stock.follow_redirects,
            timeout=stock.timeout,
        )
    )


def _check_response(response: Any) -> None:
    # Only a HEAD request's ETag names a blob; others may contain slashes.
    metadata = response.request.method == "HEAD"
    for name in (*_HEADERS, *(["etag"] if metadata else ())):
        _check_name(response.headers.get(name))
    if not response.request.extensions[IS_FILE]:
        response.read()
        _check_document(response)


def _check_document(response: Any) -> None:
    try:
        document = response.json()
    except ValueError:
        return
    for key, value, _ in values_in(document):
        if key in _NAMES and isinstance(value, str):
            _check_name(value)
        elif key in _PATHS and isinstance(value, str):
            path = PurePosixPath(value)
            # A bar shows the name.
            if path.is_absolute() or ".." in path.parts or not value.isprintable():
                raise _outside(value)


def _check_name(value: str | None) -> None:
    """Refuse a value that isn't a plain file name, after removing the quotes of an ETag."""
    if value is None:
        return
    name = value.removeprefix("W/").strip('"')
    if name.strip("W") in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
        raise _outside(value)


def _outside(value: str) -> ModelError:
    return ModelError(
        f"the hub names a file outside its cache ({value[:60]!r}), which is never written; check "
        "HF_ENDPOINT"
    )


# Listing of models in the hub client's cache; needs no torch.


@dataclass(frozen=True)
class OnDisk:
    """What is on this machine of a model."""

    bytes: Annotated[Count, Doc("Of all its revisions.")]
    complete: Annotated[bool, Doc("Whether the newest revision can be loaded.")]
    commit: Annotated[str | None, Doc("Of the newest revision; null of a folder.")]
    folder: str


def cached_models() -> dict[str, OnDisk]:
    """Models in the hub client's cache, by hub id; empty if there is no cache yet."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    found = dict[str, OnDisk]()
    for repo in repos:
        if repo.repo_type == "model" and repo.revisions:
            newest = max(repo.revisions, key=lambda revision: revision.last_modified)
            folder, commit = newest.snapshot_path, newest.commit_hash
            whole = is_complete(folder)
            found[repo.repo_id] = OnDisk(repo.size_on_disk, whole, commit, str(folder))
    return found


# What loading reads but the weights, which are fetched by the names in their index.
_SMALL: dict[str, Any] = {
    "allow_patterns": [f"*{suffix}" for suffix in READ_SUFFIXES if suffix != ".safetensors"],
    "ignore_patterns": "*/*",
}


def pull(source: ModelRef, revision: str | None = None, quiet: bool = False) -> Path:
    """Download what isn't here of a revision, and run the checks of loading on it.

    Args:
        revision: branch, tag or commit; None is the main branch.
        quiet: without the client's bars, which are for terminals alone.

    Returns:
        The folder, whose name is the commit.
    """
    from huggingface_hub import HfApi, snapshot_download

    _remove_partial_files(source.location)
    with asking(source):
        # By commit. Given a branch, the client would store that it points to this commit, although
        # its files aren't there yet; later runs would take the incomplete copy for the branch.
        commit = HfApi().model_info(source.location, revision=revision).sha
    folder = whole_folder(source, commit, bars=not quiet)
    with asking(source):
        # All files are there, so this only stores that the revision points to this commit. From now
        # on it is found without the hub.
        snapshot_download(source.location, revision=revision, **_SMALL)
    # Here, so that errors don't wait for the first use.
    check_small_files(source.name, folder)
    check_tokenizer(source.name, folder / TOKENIZER)
    return folder


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


def model_folder(source: ModelRef, revision: str | None) -> Path:
    """Folder of a model's files; those of a hub model are downloaded first, but not its weights.

    A complete local copy is used without contacting the hub; `dycoke models pull` updates it.
    """
    folder = folder_of(source, revision)
    if folder is not None and (source.local or is_complete(folder)):
        return folder
    from huggingface_hub import hf_hub_download, snapshot_download

    with asking(source):
        # First by the one file that all models have, whose errors say what is wrong.
        config = hf_hub_download(source.location, CONFIG, revision=revision)
        commit = Path(config).parent.name
        return Path(snapshot_download(source.location, revision=commit, **_SMALL))


def whole_folder(source: ModelRef, revision: str | None, *, bars: bool = False) -> Path:
    """The same with its weights, so that a library that loads the folder asks the hub nothing."""
    from huggingface_hub import hf_hub_download

    folder = model_folder(source, revision)
    with asking(source, bars):
        for name in () if source.local else weight_files(source.name, folder):
            if not (folder / name).exists():
                hf_hub_download(source.location, name, revision=folder.name)
    return folder


def folder_of(source: ModelRef, revision: str | None = None) -> Path | None:
    """Folder of a model's files on this machine, complete or not; None if there are none."""
    if source.local:
        return Path(source.location)
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(source.location, CONFIG, revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def is_here(source: ModelRef) -> bool:
    """Whether a model can be loaded without a download."""
    folder = folder_of(source)
    return folder is not None and is_complete(folder)


def stored_config(source: ModelRef) -> ModelInfo | None:
    """What the configuration of a model says that is in a folder, the cache or the package."""
    folder = folder_of(source)
    if folder is not None:
        return config_in(folder, source.name)
    if source.name in published_names():
        return ModelInfo.of(published(source.name).config, source.name)
    return None


def config_in(folder: Path, name: str = "this model") -> ModelInfo | None:
    """What the configuration in a folder says; None if it can't be read."""
    try:
        values = read_json(folder / CONFIG)
        check_settings(CONFIG, values)
    except UnreadableError:
        return None
    parts = [values.get(part) for part in ("text_config", "vision_config")]
    if any(part is not None and not isinstance(part, dict) for part in parts):
        return None
    return ModelInfo.of(values, name, folder=folder)


@contextmanager
def asking(source: ModelRef, bars: bool = False) -> Iterator[None]:
    """Silence the hub client within the block, maybe but for its bars; its errors become ours."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    before, hidden = logging.get_verbosity(), are_progress_bars_disabled()
    with explained(source, "its files"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity(logging.CRITICAL)
        (enable_progress_bars if bars else disable_progress_bars)()
        try:
            yield
        finally:
            logging.set_verbosity(before)
            (disable_progress_bars if hidden else enable_progress_bars)()
