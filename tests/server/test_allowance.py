"""What a client may have, and what it is refused."""

from __future__ import annotations

import threading

import pytest

from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ContextError, ModelError, UsageError, VideoError
from dycoke_cli.models import devices
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.converse import engine_of
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.limits import Allowance
from dycoke_cli.server.media import Media
from dycoke_cli.server.refused import gone, in_keys, refused
from dycoke_cli.server.service import start_service
from dycoke_cli.video.sampling import Sampling
from tests.server.pretended import ample


def test_the_first_reason_counts() -> None:
    first = gone()
    allowance = ample()
    allowance.end(first)
    allowance.end(gone())
    with pytest.raises(type(first)) as caught, allowance:
        raise AssertionError("it was ended before it began")
    assert caught.value is first


def test_the_time_begins_with_the_work() -> None:
    allowance = Allowance(0.05, 1)
    threading.Event().wait(0.1)
    with allowance:
        assert 0 < allowance.left_s <= 0.05
        threading.Event().wait(0.06)
        for late in (allowance.check, lambda: allowance.left_s):
            with pytest.raises(VideoError, match=r"aren't read after 0\.05 s: send fewer"):
                late()


def test_what_is_too_long_has_the_code_that_clients_know() -> None:
    """They shorten the conversation by it."""
    found = refused(ContextError("32 frames are too long; lower --max-tokens (9) to 4"))
    assert (found.status, found.code) == (400, "context_length_exceeded")
    assert str(found) == "32 frames are too long; lower max_tokens (9) to 4"
    assert refused(UsageError("no")).code == "usage"
    lacking = refused(ModelError("an answer of a given form needs a package"))
    assert (lacking.status, lacking.headers) == (501, {"X-Should-Retry": "false"})


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "the answer was cut after 2 tokens (--max-tokens)",
            "the answer was cut after 2 tokens (max_tokens)",
        ),
        (
            "a pool was thinned; --video-tokens sets how many are kept",
            "a pool was thinned; dycoke.video_tokens sets how many are kept",
        ),
        (
            "it begins again; /home/me/visual can't be written (Errno 30); free some space, or set "
            "DYCOKE_CACHE",
            "it begins again",
        ),
        ("too few; use --retain 0.5 or `dycoke bench`", "too few"),
        ("with fewer frames or a part (--start, --end)", "with fewer frames or a part"),
        ("--merge-stage vision isn't supported", "merge_stage vision isn't supported"),
        ("raise --time-limit of the server", "raise --time-limit of the server"),
    ],
)
def test_a_sentence_speaks_of_keys_and_not_of_the_server(sentence: str, told: str) -> None:
    assert in_keys(sentence) == told


def test_the_dtype_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    has = ["avx2"]
    monkeypatch.setattr(devices, "instructions", lambda: has)
    loading = LoadOptions(device="cpu")
    request = Request("mini", loading, Sampling(), DyCoke(), GenerationOptions())
    media = Media()
    engine = engine_of(request, Listener())
    service = start_service(engine, request, media, queue=1, frames=1, body_mib=1, url="")
    assert service.defaults.loading == loading  # so that commands with the same flags are answered
    has.append("avx512_bf16")  # a change of the free memory would do the same
    engine.start()
    try:
        engine.call(lambda loaded: engine.unload())
        assert engine.call(lambda loaded: loaded.dtype) == "float32"
    finally:
        engine.close()
