"""Client of a judge's endpoint: OpenAI's official client, for any compatible server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.extras import how_to_install
from dycoke_cli.limited_http import HttpLimits, LimitError, limited
from dycoke_cli.retries import REQUEST_RETRIES

KEY = "OPENAI_API_KEY"
"""Environment variable with the endpoint's key, the only source of it."""
TIMEOUT_S = 60.0
BOUNDS = Bounds(nbytes=4 * 1024**2, values=100_000)
"""Limits on a response."""
# A key, or a masked key in an endpoint's error message: "sk-abcd", "sk-ab**********yz".
_KEYS = re.compile(r"(?<!\S)\S*\*{2}\S*|\bsk-\S+")


@dataclass(frozen=True)
class JudgeReply:
    """Reply of an endpoint: the text, and the model's name as returned."""

    text: str
    model: str


class NoReplyError(Exception):
    """No reply to a request after all retries; other requests may succeed."""


class JudgeClient(Protocol):
    """Interface of a judge's endpoint."""

    @property
    def model(self) -> str:
        """Requested model."""

    def ask(self, system: str, user: str) -> JudgeReply:
        """Send two messages, and wait for the reply. Called from several threads."""


class OpenAIClient:
    """OpenAI's official client, with exponential backoff on 429, 5xx and timeouts.

    Args:
        model: model name, such as gpt-4o-2024-11-20.
        url: OpenAI-compatible endpoint, such as http://localhost:8000/v1; None for OPENAI_BASE_URL
            or OpenAI's.
    """

    def __init__(
        self,
        model: str,
        url: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = REQUEST_RETRIES,
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
            api_key=self._key,
            base_url=url,
            timeout=timeout_s,
            max_retries=retries,
            http_client=limited(openai.DefaultHttpxClient, HttpLimits(timeout_s, BOUNDS))(),
        )

    def ask(self, system: str, user: str) -> JudgeReply:
        """Send two messages, and wait for the reply, as every `JudgeClient` does."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        openai = self._openai
        try:
            done = self._client.chat.completions.create(
                model=self.model, messages=messages, temperature=0
            )
            return JudgeReply(done.choices[0].message.content or "", str(done.model))
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
        except (openai.APIError, LimitError) as error:
            limit = (
                error if isinstance(error, LimitError) else error.__cause__
            )  # openai may wrap it
            if isinstance(limit, LimitError):
                raise NoReplyError(f"its response isn't read, because {limit}") from None
            raise NoReplyError(self._redacted(error)) from None
        except (AttributeError, IndexError, TypeError, ValueError, RecursionError):
            return JudgeReply(
                "", self.model
            )  # not an OpenAI response, such as another server's page

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
