"""Client of a judge's endpoint: OpenAI's official client, for any compatible server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol
from urllib.parse import urlsplit

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.extras import how_to_install

KEY = "OPENAI_API_KEY"
"""Environment variable with the endpoint's key, the only source of it."""
RETRIES = 6
TIMEOUT_S = 60.0
LONGEST_PAUSE_S = 8.0
"""Longest delay between two attempts; the limit is the client's own."""
# A key, or a masked key in an endpoint's error message: "sk-abcd", "sk-ab**********yz".
_KEYS = re.compile(r"\S*\*{2}\S*|\bsk-\S+")


@dataclass(frozen=True)
class Reply:
    """Reply of an endpoint: the text, and the model's name as returned."""

    text: str
    model: str


class NoReplyError(Exception):
    """No reply to a request after all retries; other requests may succeed."""


class Client(Protocol):
    """Interface of a judge's endpoint."""

    @property
    def model(self) -> str:
        """Requested model."""

    def ask(self, system: str, user: str) -> Reply:
        """Send two messages, and wait for the reply. Called from several threads.

        Raises:
            NoReplyError: this request failed.
            ModelError: all requests would fail.
        """


class OpenAIClient:
    """OpenAI's official client, with exponential backoff on 429, 5xx and timeouts.

    Args:
        model: model name, such as gpt-4o-2024-11-20.
        url: OpenAI-compatible endpoint, such as http://localhost:8000/v1; None for OPENAI_BASE_URL
            or OpenAI's.
        timeout_s: timeout between two received bytes. There is also a deadline for all attempts
            together, which bounds a reply that arrives byte by byte.
        retries: attempts after the first.

    Raises:
        UsageError: the package openai isn't installed, or the URL isn't one.
    """

    def __init__(
        self,
        model: str,
        url: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise UsageError(
                f"a judge needs the package openai: {how_to_install('judge')}"
            ) from error
        if url is not None:
            _check_url(url)
        self.model = model
        self._openai: Any = openai
        self._key = (
            os.environ.get(KEY) or "none"
        )  # required by the client, ignored by local servers
        self._client: Any = openai.OpenAI(
            api_key=self._key, base_url=url, timeout=timeout_s, max_retries=retries
        )
        self._deadline_s = (retries + 1) * timeout_s + retries * LONGEST_PAUSE_S

    def ask(self, system: str, user: str) -> Reply:
        """Send two messages, and wait for the reply, as every `Client` does."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        openai = self._openai
        try:
            done = self._within_deadline(messages)
            return Reply(done.choices[0].message.content or "", str(done.model))
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            # Without the endpoint's message, which contains parts of the key.
            raise ModelError(
                f"the judge's endpoint refuses the key ({error.status_code}): set {KEY}"
            ) from None
        except openai.NotFoundError as error:
            raise ModelError(
                f"the judge's endpoint has no model {self.model!r}, or isn't at that URL "
                f"({self._redacted(error)}): check --judge-model and --judge-url"
            ) from None
        except openai.APIError as error:
            raise NoReplyError(self._redacted(error)) from None
        except (AttributeError, IndexError, TypeError, ValueError, RecursionError):
            return Reply("", self.model)  # not an OpenAI response, such as another server's page

    def _within_deadline(self, messages: list[dict[str, str]]) -> Any:
        """Wait for the response; at the deadline, the reading thread is abandoned (a daemon)."""
        replied: SimpleQueue[Any] = SimpleQueue()

        def request() -> None:
            try:
                replied.put(
                    self._client.chat.completions.create(
                        model=self.model, messages=messages, temperature=0
                    )
                )
            except Exception as error:
                replied.put(error)

        # The client's own timeout restarts with every byte, so a thread of ours keeps the deadline.
        Thread(target=request, daemon=True).start()
        try:
            done = replied.get(timeout=self._deadline_s)
        except Empty:
            raise NoReplyError(f"no whole reply within {self._deadline_s:.0f} s") from None
        if isinstance(done, Exception):
            raise done
        return done

    def _redacted(self, error: Exception) -> str:
        message = str(error).replace(self._key, "…")
        return " ".join(_KEYS.sub("…", message).split())[:200]


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("--judge-url must be an address such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise UsageError(f"--judge-url must not have a name or password in it: set {KEY}")
