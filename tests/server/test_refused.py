"""What a client is told of an error or a warning: in its own words, without what only we know."""

from __future__ import annotations

import pytest

from dycoke_cli.errors import ContextError, UsageError
from dycoke_cli.server.refused import in_keys, refused
from dycoke_cli.video.decoded_clip import LateVideoError


def test_what_is_too_long_has_the_code_that_clients_know() -> None:
    """They shorten the conversation by it."""
    found = refused(ContextError("32 frames are too long; lower --max-new-tokens (9) to 4"))
    assert (found.status, found.code) == (400, "context_length_exceeded")
    assert str(found) == "32 frames are too long; lower max_tokens (9) to 4"
    assert refused(UsageError("no")).code == "usage"


def test_a_kind_of_an_error_has_its_status() -> None:
    late = refused(LateVideoError("the video isn't decoded after 9 s"))
    assert (late.status, str(late)) == (400, "the video isn't decoded after 9 s")


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "the answer was cut after 2 tokens (--max-new-tokens)",
            "the answer was cut after 2 tokens (max_tokens)",
        ),
        (
            "a pool was thinned; --max-tokens sets how many are kept",
            "a pool was thinned; dycoke.max_tokens sets how many are kept",
        ),
        (
            "it begins again; /home/me/visual can't be written (Errno 30); free some space, or set "
            "DYCOKE_CACHE",
            "it begins again",
        ),
        ("too few; use --retain 0.5 or `dycoke bench`", "too few"),
    ],
)
def test_a_sentence_speaks_of_keys_and_not_of_the_server(sentence: str, told: str) -> None:
    assert in_keys(sentence) == told
