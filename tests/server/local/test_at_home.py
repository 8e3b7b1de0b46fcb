"""What works in a command works through a running server, with the same objects and sentences.

The bundled model answers, loaded once for the server and for the commands that ask by themselves.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.runs.converse import converse
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.local.server_asker import ServerAsker, find_server
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import Outcome, run_here
from tests.server.local.conftest import Served
from tests.server.pretended import DEFAULTS
from tests.waiting import until

pytestmark = pytest.mark.slow

STAR = "What does the blue star do?"
MEASURED = ("seconds", "tokens_per_second", "bytes")


class Near(float):
    """Equal to any number close to it: sums of a prompt in two pieces are rounded otherwise."""

    __hash__ = float.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, other, rel_tol=1e-4, abs_tol=1e-6)


def unmeasured(value: Any) -> Any:
    """An object without what differs from run to run."""
    if isinstance(value, dict):
        return {key: unmeasured(one) for key, one in value.items() if key not in MEASURED}
    if isinstance(value, float):
        return Near(value)
    return [*map(unmeasured, value)] if isinstance(value, list) else value


@pytest.fixture(autouse=True)
def _more(place: Path) -> None:
    """A broken clip, and questions about it and others."""
    (place / "broken.mp4").write_bytes(b"\0" * 100)
    asked = [
        {"video": "move.mp4", "question": STAR, "id": "a", "end": 2},
        {"video": "move.mp4", "question": STAR, "id": "b", "start": 1.5},
        {"video": "turn.mp4", "question": "Is there a star?", "id": "c"},
        {"video": "broken.mp4", "question": STAR, "id": "d"},
    ]
    (place / "questions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in asked))


def both(real: Served, *arguments: str, stdin: bytes = b"") -> tuple[Outcome, Outcome]:
    """A command through the server, and by itself; the server must have answered the first."""
    real.loads.clear()
    served = run_here(*arguments, stdin=stdin)
    assert real.has_answered(), served.err
    alone = run_here(*arguments, "--no-server", stdin=stdin)
    assert (served.code, served.err) == (alone.code, alone.err)
    return served, alone


FOUR = ("--frames", "4")
TYPED: Sequence[tuple[str, ...]] = (("--yes-no",), ("--choices", "red,blue"), ("--score", "1-5"))
ASKED: dict[str, tuple[str, ...]] = {
    "several": ("move.mp4", "-q", STAR, "-q", "Why?", "--follow-up", *FOUR),
    "seeded": ("move.mp4", STAR, "--temperature", "1.5", "--seed", "7", *FOUR),
    "compared": ("move.mp4", STAR, "--compare", "--method", "dycoke-plus:retain=0.25", *FOUR),
    "windows": ("move.mp4", "-q", STAR, "-q", "Which shape moves?", "--fps", "10", "--method",
                "evs", "--video-tokens", "60"),
    "until": ("minute.mp4", "Is there a star?", "--yes-no", "--every", "25s", "--until", "no",
              *FOUR),
    "subtitles": ("move.mp4", STAR, "--subtitles", "move.srt", *FOUR),
    "found subtitles": ("move.mp4", STAR, "--subtitles", "auto", *FOUR),
    "no subtitles": ("turn.mp4", STAR, "--subtitles", "auto", *FOUR),
    "broken": ("broken.mp4", "-q", STAR, "-q", "Why?"),
    "unknown words": ("move.mp4", "Who stole my bicycle yesterday?", *FOUR),
    **{" ".join(one): ("move.mp4", "Is there a star?", *FOUR, *one) for one in TYPED},
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_ask(real: Served, asked: tuple[str, ...]) -> None:
    served, alone = both(real, "ask", *asked, "--json")
    assert unmeasured(served.objects) == unmeasured(alone.objects)
    assert served.objects


def test_what_no_command_shows_arrives_too(real: Served, mini: LoadedModel) -> None:
    """The trace of an answer, which its JSON object doesn't have."""
    options = GenerationOptions(trace=1)
    request = replace(DEFAULTS, sampling=Sampling(frames=4), generation=options)
    asker = find_server(request)
    assert isinstance(asker, ServerAsker), asker
    with asker, Engine(request, loaded=mini) as engine:
        ask = Ask(STAR, request, (Footage("move.mp4", "move.mp4"),))
        [served], [alone] = (converse(one, [ask], Listener()) for one in (asker, engine))
        with pytest.raises(UsageError, match=r"a running server .* leave out work and decoded"):
            asker.submit(ask, work=lambda session, send: None, decoded=True)
        with pytest.raises(UsageError, match="leave out decoders"):
            asker.submit(ask, decoders=[Decoder()])
    assert served.trace is not None
    shown, expected = (json.loads(json.dumps(asdict(one), default=str)) for one in (served, alone))
    assert unmeasured(shown["trace"]) == unmeasured(expected["trace"])


def test_what_is_encoded_is_kept_on_disk_for_commands(real: Served) -> None:
    """Though the server was started without --cache."""
    run_here("ask", "move.mp4", STAR, *FOUR)
    assert not _kept()
    until(real.service.engine.free)  # the server may still be done with that question
    assert run_here("ask", "move.mp4", STAR, *FOUR, "--cache").code == 0
    kept = _kept()
    assert real.has_answered()
    assert len(kept) == 1
    assert run_here("ask", "move.mp4", STAR, *FOUR, "--cache", "--no-server").code == 0
    assert _kept() == kept


def _kept() -> list[Path]:
    return sorted(path for path in cache_folder().rglob("*.safetensors"))


BATCH: dict[str, tuple[str, ...]] = {
    "plain": ("move.mp4", "turn.mp4", "broken.mp4", "-q", STAR, "-q", "Is there a star?"),
    "subtitles": ("move.mp4", "turn.mp4", STAR, "--subtitles", "auto"),
    "parts": ("--questions", "questions.jsonl"),
    "typed parts": ("--questions", "questions.jsonl", "--subtitles", "auto", "--yes-no"),
    "windows": ("move.mp4", "turn.mp4", STAR, "--method", "evs", "--video-tokens", "60",
                "--fps", "10"),
    "every": ("move.mp4", STAR, "--every", "2s"),
    "when": ("move.mp4", "Is there a blue star?", "--when", "--every", "2s"),
    "one by one": ("move.mp4", "turn.mp4", STAR, "--batch-size", "1"),
    "a layer": ("move.mp4", STAR, "--prune-layer", "77"),
}  # fmt: skip


def _lasting(err: str) -> list[str]:
    """Lines without those of progress, which come by the clock."""
    return [line for line in err.splitlines() if not re.match(r"\d+ of \d+ questions? · ", line)]


@pytest.mark.parametrize("asked", BATCH.values(), ids=BATCH)
def test_batch(real: Served, asked: tuple[str, ...]) -> None:
    """The file of one goes on in the other: the keys are the same."""
    given = ("batch", *asked, *(() if "--fps" in asked else FOUR))
    served = run_here(*given, "--out", "served.jsonl")
    assert real.has_answered(), served.err
    alone = run_here(*given, "--out", "alone.jsonl", "--no-server")
    assert served.code == alone.code
    shown = [sorted(_lasting(one.err.replace("served", "alone"))) for one in (served, alone)]
    assert shown[0] == shown[1]
    lines = [_lines(Path(f"{name}.jsonl")) for name in ("served", "alone")]
    assert lines[0] == lines[1]
    if lines[0]:
        before = Path("served.jsonl").read_bytes()
        run_here(*given, "--out", "served.jsonl", "--no-server")
        assert Path("served.jsonl").read_bytes() == before  # nothing was asked again


def _lines(path: Path) -> dict[str, Any]:
    """The lines of a file of results by their keys."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["key"]: unmeasured(line) for line in lines}
