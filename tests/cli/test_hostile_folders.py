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
from collections.abc import Iterator
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


def run_in_a_fork(*commands: list[str], folder: Path) -> Iterator[Ended]:
    """Run commands one after the other; what libraries write past Python's streams goes to `noise`.

    They are forked from a process that has only imported, not from this one: threads of torch that
    have reckoned don't live in a fork.
    """
    result, noise = folder / "result", folder / "noise"
    given = (str(result), tokenizer_trial._CPU_S, commands)
    code = f"from {__name__} import measured; measured{given!r}"
    with noise.open("wb") as told:
        done = warm.run([sys.executable, "-c", code], stdout=told, stderr=told)
    ended = [json.loads(line) for line in result.read_text().splitlines()]
    crash = f"{commands[len(ended) :][:1]} crashes: {done.returncode}, {noise.read_text()[-500:]}"
    assert len(ended) == len(commands), crash
    assert noise.read_text() == ""
    for run, cpu_s, peak in ended:
        yield Ended(Outcome(**run), cpu_s, peak)


def measured(result: str, trial_cpu_s: int, commands: tuple[list[str], ...]) -> None:
    """In the fork: run them, and write how each ended and what it took."""
    tokenizer_trial._CPU_S = trial_cpu_s
    with open(result, "w") as file:
        for arguments in commands:
            before = sum(os.times()[:4])
            most = int(before) + 2 * MOST_CPU_S
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            held = peak_bytes()
            run = run_here(*arguments)
            took = [asdict(run), sum(os.times()[:4]) - before, peak_bytes() - held]
            print(json.dumps(took), file=file, flush=True)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [ASKED.split(), *(pytest.param([name], id=name, marks=EXTENDED) for name in ALIKE.split())],
)
def test_a_hostile_folder(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if names[0] in ENDED:
        monkeypatch.setattr(tokenizer_trial, "_CPU_S", 2)
    commands = []
    for name in names:
        folder = copy_of_bundled(tmp_path / name)
        FOLDERS[name](folder)
        commands.append([str(folder) if part == FOLDER else part for part in ASK])
    for name, ended in zip(names, run_in_a_fork(*commands, folder=tmp_path), strict=True):
        run = ended.run
        assert run.code == (0 if name in HARMLESS else 4), (name, run.err)
        assert (run.out == "") == (run.code != 0), name
        if run.code:
            assert_is_a_sentence(run.err.removeprefix("Error: ").rstrip("\n"))
        assert ended.cpu_s < MOST_CPU_S, name
        assert ended.peak_bytes < MOST_BYTES, name
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
