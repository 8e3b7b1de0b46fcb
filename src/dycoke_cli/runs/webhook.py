"""Webhook of `dycoke watch`: a thread sends answers to an address, from a queue on disk.

An answer is a file of the queue from when it is added until the receiver has taken it. So none is
lost while the receiver is down, or when the process ends: the next watch with the same address
sends it. An answer may arrive twice, with the same id, where the process ended in between.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.limited_http import HttpLimits, LimitError, http_library, limited
from dycoke_cli.storage.cache_folder import CacheFiles, kept, unwritable, write_whole
from dycoke_cli.storage.output_file import remove_left
from dycoke_cli.unicode import display_name, to_json
from dycoke_cli.version import __version__

AUTHORIZATION = "DYCOKE_WEBHOOK_AUTHORIZATION"
"""Environment variable with the value of the header Authorization."""
MOST_EVENTS, MOST_BYTES = 10_000, 64 * 1024**2
"""Limits of a queue, beyond which the oldest answers are dropped."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Seconds until an answer is sent again: twice as many after each failure."""
LIMITS = HttpLimits(seconds=10.0, bounds=Bounds(nbytes=1024**2))
_END_S = 15.0  # for what is left at the end
_SUFFIX = ".json"


@dataclass(frozen=True)
class WebhookAddress:
    """Where answers are sent."""

    url: str
    name: str  # for the user: path and query often are a secret
    authorization: str | None  # value of the header, another secret


def parse_webhook(url: str) -> WebhookAddress:
    """Check the address of a webhook, of which no error has more than the host."""
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname, parts.username or parts.password
        name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        valid = parts.port is None or parts.port > 0
    except ValueError:
        host, secret, name, valid = None, None, "", False
    valid = valid and url.isascii() and url.isprintable() and " " not in url
    if not valid or not host or not name.startswith(("http://", "https://")):
        raise UsageError("--webhook takes an address such as https://example.org/hook")
    if secret:
        raise UsageError(
            f"--webhook must have no user and no password in it: set {AUTHORIZATION} to the value "
            "of the header Authorization"
        )
    authorization = os.environ.get(AUTHORIZATION) or None
    if authorization and not (authorization.isascii() and authorization.isprintable()):
        raise UsageError(f"{AUTHORIZATION} isn't the value of a header: set it to one line")
    return WebhookAddress(url, display_name(name), authorization)


class Webhook:
    """Sends answers to an address. A context manager, which ends with a last attempt.

    Several watches may have the same address: they share its queue, and one at a time sends.

    Args:
        on_note: receives a sentence for the user; never called by the thread, see `tell`.
    """

    def __init__(self, address: WebhookAddress, on_note: Callable[[str], None]) -> None:
        self._address, self._on_note = address, on_note
        digest = hashlib.sha256(address.url.encode()).hexdigest()[:32]
        self._files = CacheFiles(kept("webhooks") / digest, _SUFFIX, MOST_BYTES)
        self._lock = FileLock(self._files.folder / "lock")
        library = http_library()
        self._failures = (library.HTTPError, LimitError, OSError)
        self._client = limited(library.Client, LIMITS)(timeout=LIMITS.seconds)
        self._added, self._ending = Event(), Event()
        self._notes: list[str] = []
        self._is_down = False
        self._dropped = 0
        self._thread = Thread(target=self._deliver, name="webhook", daemon=True)

    def __enter__(self) -> Self:
        self._files.make_private()
        remove_left(self._files.folder)
        if left := len(self._queued()):
            self._on_note(f"{_answers(left)} of earlier watches first: {self._address.name}")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._added.set()
        self._thread.join(_END_S)
        self._client.close()
        self.tell()
        if self._dropped:
            self._on_note(f"{_answers(self._dropped)} dropped from the queue of --webhook")
        if left := len(self._queued()):
            self._on_note(
                f"{_answers(left)} not sent yet: a `dycoke watch` with the same --webhook sends "
                "what waits"
            )

    def add(self, document: dict[str, Any]) -> None:
        """Put an answer's JSON object into the queue; returns at once."""
        queued, text = self._queued(), to_json(document)
        # Names are ordered as answers are, also if the clock was set back.
        now = max([time.time_ns(), *(_number(name) + 1 for name in [*queued][-1:])])
        path = self._files.path(f"{now:020d}-{secrets.token_hex(16)}")
        try:
            write_whole(path, text)
        except OSError as error:
            raise OutputError(unwritable(self._files.folder, error)) from error
        self._trim({**queued, path.name: len(text)})
        self._added.set()

    def tell(self) -> None:
        """Hand out what the thread has to say."""
        while self._notes:
            self._on_note(self._notes.pop(0))

    def _queued(self) -> dict[str, int]:
        """Names of the files of the queue, the oldest first, and their sizes."""
        sizes = dict[str, int]()
        # `dycoke cache clear` may delete the folder.
        with suppress(FileNotFoundError), os.scandir(self._files.folder) as entries:
            for one in entries:
                with suppress(FileNotFoundError):  # sent meanwhile
                    if one.name.endswith(_SUFFIX):
                        sizes[one.name] = one.stat().st_size
        return dict(sorted(sizes.items()))

    def _trim(self, sizes: dict[str, int]) -> None:
        """Drop the oldest answers until the limits hold; the newest stays."""
        total, before = sum(sizes.values()), self._dropped
        while len(sizes) > 1 and (len(sizes) > MOST_EVENTS or total > MOST_BYTES):
            oldest = next(iter(sizes))
            total -= sizes.pop(oldest)
            (self._files.folder / oldest).unlink(missing_ok=True)
            self._dropped += 1
        if self._dropped and not before:
            self._on_note(
                f"The queue of --webhook is full ({MOST_EVENTS:,} answers or "
                f"{MOST_BYTES / 1024**2:.0f} MiB): the oldest answers are dropped"
            )

    def _deliver(self) -> None:
        """Send what is in the queue, until the end; runs in the thread."""
        wait_s = FIRST_WAIT_S
        while True:
            is_last = self._ending.is_set()
            delivered = self._send_queued()
            if is_last:
                return
            if delivered:
                wait_s = FIRST_WAIT_S
                # Another watch that has sent for this one may have ended.
                pause(self._added, LONGEST_WAIT_S)
                self._added.clear()
            else:
                pause(self._ending, wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _send_queued(self) -> bool:
        """Send the answers of the queue in order, up to one that isn't taken."""
        try:
            with self._lock.acquire(timeout=0):
                for path in map(self._files.folder.joinpath, self._queued()):
                    with suppress(FileNotFoundError):  # dropped meanwhile
                        failure = self._send(path)
                        if failure is not None:
                            self._fail(failure)
                            return False
                        path.unlink()
        except Timeout:  # another watch sends
            return True
        except OSError as error:
            self._fail(f"has a queue that can't be read ({error.strerror})")
            return False
        if self._is_down:
            self._is_down = False
            self._notes.append(f"--webhook {self._address.name} takes answers again")
        return True

    def _send(self, path: Path) -> str | None:
        """Send an answer; returns why it isn't taken, or None."""
        body = path.read_bytes()
        if not body.startswith(b"{"):  # what a power failure left
            return None
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"dycoke/{__version__}",
            "Webhook-Id": path.stem.partition("-")[2],
            "Webhook-Timestamp": str(_number(path.name) // 10**9),
        }
        if self._address.authorization is not None:
            headers["Authorization"] = self._address.authorization
        # Streamed, so that nothing is read of what a receiver says that has taken it.
        sending = self._client.stream("POST", self._address.url, content=body, headers=headers)
        try:
            with sending as response:
                if response.is_success:
                    return None
                return f"answers with the status {response.status_code}"
        except self._failures as error:
            # Its text may have the address.
            return f"can't be reached ({type(error).__name__})"

    def _fail(self, reason: str) -> None:
        if not self._is_down:
            self._is_down = True
            self._notes.append(
                f"--webhook {self._address.name} {reason}: answers wait, and are sent again"
            )


def pause(event: Event, seconds: float) -> None:
    """Wait for an event, or for some time."""
    event.wait(seconds)


def _number(name: str) -> int:
    """When an answer was added, in nanoseconds since 1970."""
    return int(name.partition("-")[0])


def _answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{count:,} answers"
