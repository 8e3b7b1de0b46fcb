"""Webhook of `dycoke watch`: a thread sends each answer to an address (tries: see `retries`)."""

from __future__ import annotations

import os
import re
import secrets
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.errors import UsageError
from dycoke_cli.retries import WEBHOOK_WAITS_S
from dycoke_cli.storage.limited_http import HttpLimits, http_library, limited
from dycoke_cli.unicode import to_json

MOST_WAITING = 100  # answers; one that comes while so many wait isn't sent
LIMITS = HttpLimits(seconds=10.0, bounds=Bounds(nbytes=1024**2))
_HOST = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?(?=[/?#]|$)", re.IGNORECASE)


class Webhook:
    """Sends answers in order; `warnings` has sentences for another thread to show."""

    def __init__(self, url: str) -> None:
        # Without path and query, which often are a secret.
        if (shown := _HOST.match(url)) is None:
            raise UsageError("--webhook takes an address such as https://example.org/hook")
        self._url, self._name, self.warnings = url, f"--webhook {shown[0]}", list[str]()
        self._client = limited(http_library().Client, LIMITS)(timeout=LIMITS.seconds)
        self._answers, self._ending = SimpleQueue[dict[str, Any] | None](), Event()
        self._thread = Thread(target=self._deliver, name="webhook", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last answers."""
        self._ending.set()
        self._answers.put(None)
        self._thread.join(LIMITS.seconds)
        if self._thread.is_alive():
            self.warnings.append(f"{self._name} is too slow: {self._answers.qsize()} not sent")

    def add(self, document: dict[str, Any]) -> None:
        """Send an answer's JSON object; returns at once."""
        if self._answers.qsize() < MOST_WAITING:
            self._answers.put(document)
        else:
            self.warnings.append(f"{self._name} is too slow: an answer isn't sent")

    def _deliver(self) -> None:
        token = os.environ.get("DYCOKE_WEBHOOK_AUTHORIZATION")
        headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
        with self._client:
            while (answer := self._answers.get()) is not None:
                headers["Webhook-Id"] = secrets.token_hex(16)
                if failure := self._failure(content=to_json(answer), headers=headers):
                    self.warnings.append(f"{self._name} {failure}: an answer isn't sent")

    def _failure(self, **request: Any) -> str | None:
        for wait_s in WEBHOOK_WAITS_S:
            self._ending.wait(wait_s)
            try:
                with self._client.stream("POST", self._url, **request) as reply:  # body unread
                    if reply.is_success:
                        return None
                    failure = f"has the status {reply.status_code}"
            except Exception as error:  # its text may have the address
                failure = f"can't be reached ({type(error).__name__})"
        return failure
