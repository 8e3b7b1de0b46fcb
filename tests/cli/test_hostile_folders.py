"""A model folder of a stranger ends in an answer or one sentence, soon and in little memory.

What isn't refused at once is asked in a fork of a process that has imported all that an answer
needs; the system ends it where it takes too much.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files import small_files as tokenizer_trial
from tests import warm
from tests.cli.harness import CLIP, REAL, Outcome, run_here, run_process
from tests.cli.hostile_folders import FOLDERS, WROTE, copy_of_bundled
from tests.marks import EXTENDED

# An answer of the bundled model takes less than a second and 200 MB.
MOST_CPU_S, MOST_BYTES = 10, 1 << 30
# Odd, and without harm: there is an answer, as stock transformers has one.
HARMLESS = {
    "processor-mean-short",
    "processor-token-empty",
    "processor-token-missing",
    "tokenizer-class",
}
# What no small file tells: they are asked, one or two of a kind in `make test`.
ASKED = """
    config-hidden-zero config-code generation-end-far processor-size-text processor-token-empty
    template-ranges template-escapes-by-globals tokenizer-charsmap tokenizer-class
"""
ALIKE = """
    config-activation config-feature-layer-near config-image-size config-layers-thousand
    config-method-name config-model-type-list config-patch-zero config-quantized-text
    config-text-config-text config-video-token config-video-token-text
    generation-end-text generation-penalty
    processor-class-other processor-class-unknown processor-mean-short processor-token-missing
    processor-video-class
    template-conditional template-deep template-escapes template-escapes-by-attr
    template-escapes-by-format template-grows template-includes template-macro template-megabytes
    template-output template-power template-raises template-shows-nothing template-urls
    template-wide
    tokenizer-deep tokenizer-expression tokenizer-expression-deep tokenizer-grows
    tokenizer-grows-by-a-rare-letter tokenizer-ids tokenizer-model-kind tokenizer-padding
    tokenizer-padding-large tokenizer-prepends tokenizer-wide
"""
# They are ended by a limit of seconds, or of memory that takes as long to fill: one when it really
# would be, `tokenizer-grows`.
ENDED = ("tokenizer-expression", "tokenizer-grows-by-a-rare-letter", "tokenizer-prepends")
QUESTION = "What does the blue square do before the video ends, and where is it then?"
FOLDER = "FOLDER"
ASK = ("ask", str(CLIP), QUESTION, "--frames", "2", "--quiet", "--model", FOLDER)


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it took."""

    run: Outcome
    cpu_s: float
    peak_bytes: int


def run_in_a_fork(arguments: list[str], noise: Path) -> Ended:
    """Run a command; what libraries write past Python's streams goes to `noise`.

    It is forked from a process that has only imported, not from this one: threads of torch that
    have reckoned don't live in a fork.
    """
    result = noise.with_name("result")
    given = (str(result), tokenizer_trial._CPU_S, *arguments)
    code = f"from {__name__} import measured; measured{given!r}"
    with noise.open("wb") as told:
        done = warm.run([sys.executable, "-c", code], stdout=told, stderr=told)
    assert result.exists(), f"it crashes: {done.returncode}, {noise.read_text()[-500:]}"
    run, cpu_s, peak = json.loads(result.read_text())
    return Ended(Outcome(**run), cpu_s, peak)


def measured(result: str, trial_cpu_s: int, *arguments: str) -> None:
    """In the fork: run it, and write how it ended and what it took."""
    resource.setrlimit(resource.RLIMIT_CPU, (2 * MOST_CPU_S, 2 * MOST_CPU_S))
    tokenizer_trial._CPU_S = trial_cpu_s
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    run = run_here(*arguments)
    Path(result).write_text(json.dumps([asdict(run), sum(os.times()[:4]), peak_bytes() - before]))


def peak_bytes() -> int:
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) << 10


def assert_is_a_sentence(text: str) -> None:
    assert len(text.splitlines()) == 1
    assert "unexpected" not in text
    assert len(text) < 1000


@pytest.mark.slow
def test_what_a_small_file_tells_is_refused_before_anything_is_imported(tmp_path: Path) -> None:
    asked = []
    for name, spoil in FOLDERS.items():
        folder = copy_of_bundled(tmp_path / name)
        spoil(folder)
        try:
            find(str(folder))
        except ModelError as error:
            assert_is_a_sentence(str(error))
        else:
            asked.append(name)
    assert sorted(asked) == sorted([*ASKED.split(), *ALIKE.split()])


@pytest.mark.parametrize(
    "name", [*ASKED.split(), *(pytest.param(name, marks=EXTENDED) for name in ALIKE.split())]
)
def test_a_hostile_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name in ENDED:
        monkeypatch.setattr(tokenizer_trial, "_CPU_S", 2)
    folder = copy_of_bundled(tmp_path / "model")
    FOLDERS[name](folder)
    noise = tmp_path / "noise"
    ended = run_in_a_fork([str(folder) if part == FOLDER else part for part in ASK], noise)
    run = ended.run
    code = 0 if name in HARMLESS else 4
    assert run.code == code, run.err
    assert (run.out == "") == (run.code != 0)
    if run.code:
        assert_is_a_sentence(run.err.removeprefix("Error: ").rstrip("\n"))
    assert noise.read_text() == ""
    assert ended.cpu_s < MOST_CPU_S
    assert ended.peak_bytes < MOST_BYTES
    assert not [*tmp_path.rglob(WROTE)]


OTHERS = {
    "batch": ("batch", str(CLIP), "What happens?", "--model", FOLDER),
    "estimate": ("ask", str(CLIP), "What happens?", "--estimate", "--model", FOLDER),
    "bench": ("bench", str(CLIP), "--model", FOLDER, "--frames", "2"),
    "eval": ("eval", "shapes", "--limit", "1", "--model", FOLDER, "--workers", "1"),
    "verify": ("verify", FOLDER),
}


# One that is refused at once, and one in the process of its trial.
FIRST = (("config-flex", "batch"), ("template-ranges", "verify"))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param(*case, marks=() if case in FIRST else EXTENDED)
        for case in product(("config-flex", "template-ranges"), OTHERS)
    ],
)
def test_other_commands(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copy_of_bundled(tmp_path / "model")
    FOLDERS[name](folder)
    run = run_process(REAL, *(str(folder) if part == FOLDER else part for part in OTHERS[command]))
    assert run.code == 4, run.err
    assert "Traceback" not in run.err
    assert_is_a_sentence(run.err.splitlines()[-1])


def test_models_info(tmp_path: Path) -> None:
    folder = copy_of_bundled(tmp_path / "model")
    FOLDERS["config-deep"](folder)
    run = run_here("models", "info", folder)
    assert run.code == 4
    assert_is_a_sentence(run.err)
