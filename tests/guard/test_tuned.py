"""A stored tuning that a disk, an editor or another program has damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.guard import tuned
from dycoke_cli.guard.tuned import default_tuning, file_of, store, stored, tuning_of
from dycoke_cli.models import settings
from tests.guard.tunings import SAMPLING, SURE, tuning_with

METHOD = {"name": "random", "retain": 0.25, "positions": "kept", "seed": 0}
ATTEMPT = {"score": 0.5, "same": True}


def changed(**keys: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda content: json.dumps(content | keys).encode()


DAMAGED: list[Callable[[dict[str, Any]], bytes]] = [
    lambda content: b"",
    lambda content: b"\xff" * 99,
    lambda content: json.dumps(content).encode()[:-9],
    lambda content: b"[" * 100_000,
    lambda content: b"[" + b"[]," * 6_000_000 + b"[]]",
    lambda content: b"null",
    lambda content: json.dumps(content).encode("utf-16"),
    *(changed(method=method) for method in ({}, {"name": None}, {"name": ["a"]}, [], 7)),
    *(changed(method=METHOD | {"retain": value}) for value in (float("nan"), "x", 2, [1])),
    changed(method={"name": "random", "retain": 0.25, "seed": float("inf")}),
    changed(ladder=[{}]),
    changed(ladder=[METHOD, METHOD | {"retain": -1}]),
    changed(tries=[[[ATTEMPT]]]),
    changed(tries=[[]]),
    changed(tries=[[[ATTEMPT, ATTEMPT | {"score": 2}]]]),
    changed(tries=[[[ATTEMPT, ATTEMPT | {"score": float("nan")}]]]),
    changed(version=["0"]),
    changed(sampling=[]),
    changed(sampling={"frames": float("nan")}),
    changed(sampling={"frames": [{"a": float("inf")}]}),
    *(
        lambda content, wrong=wrong: json.dumps(
            content | {"tuned": content["tuned"] | wrong}
        ).encode()
        for wrong in (
            {"agreement": 2}, {"interval": [0.5]}, {"interval": [0, 9]}, {"videos": -1},
            {"target": float("nan")}, {"agreement": None}, {"date": 10**400},
        )
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(settings.ENVIRONMENT, str(tmp_path / "settings.json"))


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_named_in_one_sentence(
    damage: Callable[[dict[str, Any]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some ended every `ask` without a --method as "unexpected", with a KeyError or a TypeError."""
    tuning = tuning_with(SURE[:1], default=True)
    path = store(tuning)
    assert default_tuning("mini") == tuning
    path.write_bytes(damage(json.loads(path.read_text())))
    monkeypatch.setattr(tuned, "fingerprint", lambda model: tuning.fingerprint)
    with pytest.raises(UsageError) as refused:
        default_tuning("mini")
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith("run `dycoke tune` again, or name a --method")
    assert len(str(refused.value)) < 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for() -> None:
    path = file_of(tuning_with(SURE).fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(UsageError, match="isn't what `dycoke tune` wrote"):
        default_tuning("mini")


def test_words_and_options_have_a_tuning_each() -> None:
    """A guard of options needs their margins; a method may be that of words."""
    words = tuning_with(SURE, default=True)
    store(words)
    assert default_tuning("mini", typed=True) == words
    assert stored("mini", typed=True) is None
    with pytest.raises(UsageError, match="isn't tuned with options yet, and --guard needs their"):
        tuning_of("mini", typed=True)
    typed = tuning_with(SURE[:3], options=("yes", "no"), calibrated=True, default=True)
    path = store(typed)
    assert path != file_of(words.fingerprint)
    assert tuning_of("mini") == words == default_tuning("mini")
    assert tuning_of("mini", typed=True) == typed == default_tuning("mini", typed=True)
    path.replace(file_of(words.fingerprint))
    with pytest.raises(UsageError, match="isn't what `dycoke tune` wrote"):
        stored("mini")


def test_other_options_are_warned_of() -> None:
    typed = tuning_with(SURE, options=("yes", "no"))
    assert typed.differences("auto", SAMPLING, TypedOptions(("yes", "no"))) == []
    for other in (TypedOptions(("no", "yes")), TypedOptions(("yes", "no"), calibrate=True)):
        [sentence] = typed.differences("auto", SAMPLING, other)
        assert sentence.startswith("tuned with other options: its figures")
    # Of words nothing is compared: their guard takes no options.
    assert tuning_with(SURE).differences("auto", SAMPLING, TypedOptions(("yes", "no"))) == []
