"""Forms are compiled in a process that may take only so much: what the library would take isn't."""

from __future__ import annotations

import os
import platform
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine import form_grammar
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.processes.isolated import Isolated
from tests.forms import NEEDS_LIBRARY, form_of

pytestmark = NEEDS_LIBRARY

# What the library takes for each by itself.
HOSTILE: dict[str, Any] = {
    "10 s and 420 MB": {"type": "number", "multipleOf": 999983},
    "1 GB": {"enum": ["a" * 900_000]},
    "9 s": {
        "type": "object",
        "patternProperties": {f"^(a|b)*{number}$": {"type": "integer"} for number in range(300)},
    },
    "6 s": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(6000)}},
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of time and memory of Linux")
@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_what_takes_the_library_too_much_is_refused(schema: dict[str, Any]) -> None:
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=r"takes more than 0\.5 s or 128 MiB to compile: shorten"):
        StructuredOutput.from_schema(schema)
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_form_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    form = form_of(tried_once="string")
    monkeypatch.setattr(form_grammar, "Isolated", lambda *_: pytest.fail("tried again"))
    assert form_of(tried_once="string") == form


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_what_the_machine_is_to_blame_for_is_forgotten(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, harm = Isolated.await_ready, getattr(signal, name)
    with monkeypatch.context() as patched:
        patched.setattr(Isolated, "await_ready", lambda p: (ready(p), os.kill(p.pid, harm)))
        patched.setattr(form_grammar, "_LATE_S", 0.1)
        with pytest.raises(DycokeError, match=r"killed, or took over 0\.1 s, as on a busy machine"):
            form_of(**{name: "string"})
    form_of(**{name: "string"})


def test_no_reason_names_an_option_of_the_library() -> None:
    schema = {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}
    with pytest.raises(UsageError, match=r"not supported\. In place of oneOf use anyOf$"):
        StructuredOutput.from_schema(schema)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_process_is_sealed_before_it_has_a_form() -> None:
    process = Isolated(form_grammar.PROCESS, form_grammar.PREPARE)
    try:
        process.await_ready()
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    finally:
        process.stop()
    status = {name: value.strip() for name, _, value in (one.partition(":") for one in lines)}
    if "Seccomp" not in status or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no filter for this kernel, or for this architecture")
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert not re.search(r"Max address space +unlimited", limits)


def test_a_process_that_cannot_start_blames_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_grammar, "PROCESS", "dycoke_cli.engine.form_grammar:nothing")
    with pytest.raises(DycokeError, match="the process that compiles forms of answers can't start"):
        form_of(never_tried="string")
