"""An endpoint that judges: the official client of OpenAI, for whatever speaks its protocol."""

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
"""The environment variable with the endpoint's key: it is taken from nowhere else."""
RETRIES = 6
TIMEOUT_S = 60.0
LONGEST_PAUSE_S = 8.0
"""Between two tries, which is the client's own limit."""
# A key, or what an endpoint writes in its place: "sk-abcd", "sk-ab**********yz".
_KEYS = re.compile(r"\S*\*{2}\S*|\bsk-\S+")


@dataclass(frozen=True)
class Reply:
    """What an endpoint returned: the text, and the name of the model that wrote it."""

    text: str
    model: str


class NoReplyError(Exception):
    """An endpoint gave no reply to this request, whatever was tried; it may to another."""


class Client(Protocol):
    """An endpoint."""

    @property
    def model(self) -> str:
        """As it is asked for."""

    def ask(self, system: str, user: str) -> Reply:
        """Send two messages, and wait for the reply. Called from several threads.

        Raises:
            NoReplyError: it gave none.
            ModelError: it will give none to any request.
        """


class OpenAIClient:
    """The official client. It waits longer from try to try on 429, 5xx and stalls.

    Args:
        model: such as gpt-4o-2024-11-20.
        url: of an OpenAI-compatible endpoint, such as http://localhost:8000/v1; None is OpenAI's,
            or what OPENAI_BASE_URL names.
        timeout_s: without a word from the endpoint. All tries together have a deadline, too, so
            that a reply that drips in byte by byte has an end.
        retries: after the first try.

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
        self._key = os.environ.get(KEY) or "none"  # which endpoints of one's own don't look at
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
            # The endpoint's own words have parts of the key.
            raise ModelError(
                f"the judge's endpoint refuses the key ({error.status_code}): set {KEY}"
            ) from None
        except openai.NotFoundError as error:
            raise ModelError(
                f"the judge's endpoint has no model {self.model!r}, or isn't at that URL "
                f"({self._said(error)}): check --judge-model and --judge-url"
            ) from None
        except openai.APIError as error:
            raise NoReplyError(self._said(error)) from None
        except (AttributeError, IndexError, TypeError, ValueError, RecursionError):
            return Reply("", self.model)  # some other server's page

    def _within_deadline(self, messages: list[dict[str, str]]) -> Any:
        """The reply. A thread that still reads at the deadline is left behind."""
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

        Thread(target=request, daemon=True).start()
        try:
            done = replied.get(timeout=self._deadline_s)
        except Empty:
            raise NoReplyError(f"no whole reply within {self._deadline_s:.0f} s") from None
        if isinstance(done, Exception):
            raise done
        return done

    def _said(self, error: Exception) -> str:
        said = str(error).replace(self._key, "…")
        return " ".join(_KEYS.sub("…", said).split())[:200]


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("--judge-url must be an address such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise UsageError(f"--judge-url must not have a name or password in it: set {KEY}")
