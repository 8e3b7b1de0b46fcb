"""The benchmark of other programs: turns, lines of JSON, what is missing or fails, the set-up.

None of the programs is installed: their interpreters are scripts here.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText
from typer import Typer
from typer.testing import CliRunner

from benchmarks.kept_tables import csv_files, kept_files, name_here
from benchmarks.peers import __main__ as program
from benchmarks.peers import environments
from benchmarks.peers.checkpoint import configuration
from benchmarks.peers.environments import LLAMA_CPP, OPENVINO_GENAI, PEERS, set_up
from benchmarks.peers.kept import Journal, keep_answers, made_again
from benchmarks.peers.runners import ours
from benchmarks.peers.runners.line import Answer, Task, say
from benchmarks.peers.turns import ROWS, FailedError, Row, ask, in_turns, parsed

ANSWER = Answer(2.0, 1.0, 0.05, 4.6, 3_000_000_000, 576, 77, 33, "some program 1.2")
TASK = Task("", "clip.npy", [0.0, 0.25], "What?", 33, 2)
A, B, C = Row("a"), Row("b"), Row("c")


def line(answer: Answer, capsys: pytest.CaptureFixture[str]) -> str:
    say(answer)
    return capsys.readouterr().out


def nothing(_: str) -> None:
    pass


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "answers.jsonl", {"frames": 8})


def test_each_round_begins_with_another_row(journal: Journal) -> None:
    asked = []

    def answer(row: Row) -> Answer:
        asked.append(row.name)
        return replace(ANSWER, total=len(asked))

    answers, failed = in_turns((A, B, C), 4, answer, journal, nothing)
    assert "".join(asked) == "abcbcacababc"
    assert [one.total for one in answers[B]] == [2, 4, 9, 11]
    assert [*answers] == [A, B, C]
    assert failed == {}


def test_a_run_that_was_broken_off_goes_on(journal: Journal, tmp_path: Path) -> None:
    asked = []

    def answer(row: Row) -> Answer:
        asked.append(row.name)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return replace(ANSWER, total=len(asked))

    with pytest.raises(KeyboardInterrupt):
        in_turns((A, B, C), 2, answer, journal, nothing)
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('\n{"key": {"row"')
    answers, _ = in_turns((A, B, C), 2, answer, journal, nothing)
    assert "".join(asked) == "abcbcca"
    assert [[one.total for one in answers[row]] for row in (A, B, C)] == [[1, 7], [2, 4], [3, 6]]
    assert journal.of("c") == answers[C]
    assert Journal(tmp_path / "answers.jsonl", {"frames": 16}).of("a") == []


def test_the_line_is_found_among_others(capsys: pytest.CaptureFixture[str]) -> None:
    printed = f"loading\n{line(ANSWER, capsys)}bye\n"
    assert parsed(printed, "a warning", 0) == ANSWER


def ready(folder: Path, name: str, script: str) -> None:
    """An environment whose interpreter is a script."""
    python = folder / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    (folder / name / "ready").touch()


def test_a_runner_gets_the_task_and_its_answer_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = line(ANSWER, capsys).strip()
    ready(tmp_path, "openvino", f"echo \"$@\" $OMP_NUM_THREADS > '{tmp_path}/given'\necho '{text}'")
    row = Row("OpenVINO", OPENVINO_GENAI, "int8", {"pruned": 50})
    assert ask(row, tmp_path, TASK) == ANSWER
    option, module, given = (tmp_path / "given").read_text().split(maxsplit=2)
    assert (option, module) == ("-m", "benchmarks.peers.runners.genai")
    task, threads = json.loads(given.rpartition(" ")[0]), given.rpartition(" ")[2]
    model = str(tmp_path / "openvino" / "model" / "int8")
    assert task == asdict(TASK) | {"model": model, "weights": "int8", "settings": {"pruned": 50}}
    assert threads.strip() == "2"


def test_measuring_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = dict[str, str]()
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "ready").touch()
    configuration(2).save_pretrained(tmp_path / "checkpoint")
    tasks = []

    def answer(row: Row, folder: Path, task: Task) -> Answer:
        tasks.append(task)
        if row.peer is LLAMA_CPP:
            raise FailedError("isn't set up here")
        return ANSWER

    monkeypatch.setattr(program, "ask", answer)
    monkeypatch.setattr(program, "keep", lambda text, name: kept.update({name: text}))
    raw = tmp_path / "peers.jsonl.xz"
    monkeypatch.setattr(program, "keep_answers", partial(keep_answers, file=raw))
    app = Typer()
    app.command()(program.main)
    options = ["--environments", str(tmp_path), "--frames", "4", "--threads", "1", "--runs", "2"]
    done = CliRunner().invoke(app, [*options, "--write", "--remark", "A busy machine."])
    assert done.exit_code == 0, done.output
    [(name, text)] = kept.items()
    assert name == name_here("peers")
    assert made_again(raw) == kept, "the answers are kept, and make the same table"
    assert text.startswith("| 4 frames | vision, s |")
    assert all(text.count(f"| {row.name} |") == (row.peer is not LLAMA_CPP) for row in ROWS)
    assert "llama.cpp isn't set up here." in text
    assert "random weights: 2 layers of 1,024, a vision tower of 2 of 1,024; 4 frames of" in text
    assert "33 new tokens, greedy, 1 thread; rows that name no weights are float32" in text
    assert "A busy machine. Commit " in text
    missing = sum(row.peer is LLAMA_CPP for row in ROWS)
    assert (len(tasks), tasks[0].times, tasks[0].tokens) == (
        2 * len(ROWS) - missing,
        [0, 1 / 3, 2 / 3, 1],
        33,
    )
    few = CliRunner().invoke(app, [*options, "--row", ROWS[1].name, "--row", ROWS[0].name])
    assert [row.name for row in ROWS if f"| {row.name} |" in few.output] == [
        r.name for r in ROWS[:2]
    ]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the set-up ran: nothing is installed, but what it looks for is there."""
    ran: list[list[str]] = []

    def run(command: Sequence[str]) -> None:
        ran.append([*command])
        if "venv" in command:
            (Path(command[-1]) / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
        if "q8_0" in command:
            Path(command[5]).write_text(f"{command[-1]} of int8")
        if "download" in command:
            folder = Path(command[-1])
            folder.mkdir()
            with tarfile.open(folder / "llama_cpp_python-1.tar.gz", "w:gz") as archive:
                entry = tarfile.TarInfo("llama_cpp_python-1/vendor/llama.cpp/convert_hf_to_gguf.py")
                archive.addfile(entry, io.BytesIO())

    def write(folder: Path, layers: int | None) -> None:
        folder.mkdir()
        ran.append(["checkpoint", str(layers)])

    monkeypatch.setattr(environments, "run", run)
    monkeypatch.setattr(environments, "write_checkpoint", write)
    return ran


def test_the_set_up_makes_each_environment_once(tmp_path: Path, commands: list[list[str]]) -> None:
    assert set_up(tmp_path / "all", 2) == []
    assert commands[0] == ["checkpoint", "2"]
    assert all(peer.is_ready(tmp_path / "all") for peer in PEERS)
    ran = [" ".join(command) for command in commands]
    exported = [command.split() for command in ran if "optimum-cli" in command]
    kinds = {"float32": "fp32", "int8": "int8", "int4": "int4"}
    assert [command[-4:] for command in exported] == [
        [
            f"{tmp_path}/all/checkpoint",
            "--weight-format",
            kind,
            f"{tmp_path}/all/openvino/model/{w}",
        ]
        for w, kind in kinds.items()
    ]
    made = tmp_path / "all" / "llama.cpp" / "model"
    converted = [command.split() for command in ran if "convert_gguf" in command]
    assert [command[-2:] for command in converted] == [
        [f"{made}/float32/model.gguf", "f32"],
        ["f32", "--mmproj"],
        [f"{made}/int8/model.gguf", "q8_0"],
        ["q8_0", "--mmproj"],
    ]
    assert all(command[3].endswith("/llama_cpp_python-1/vendor/llama.cpp") for command in converted)
    assert ran[-1].endswith(f"{made}/float32/model.gguf {made}/int4/model.gguf")
    assert (made / "int4" / "mmproj.gguf").read_text() == "--mmproj of int8"
    commands.clear()
    assert set_up(tmp_path / "all") == []
    assert commands == []


@pytest.mark.parametrize(
    ("has", "given"),
    [
        ([], "-DGGML_NATIVE=ON"),
        (
            ["avx2"],
            "-DGGML_NATIVE=OFF -DGGML_AVX512=OFF -DGGML_AVX512_VBMI=OFF -DGGML_AVX512_VNNI=OFF "
            "-DGGML_AVX512_BF16=OFF",
        ),
        (
            ["avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8"],
            "-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON "
            "-DGGML_AVX512_BF16=ON",
        ),
    ],
)
def test_llama_cpp_is_built_for_the_instruction_set_of_the_table(
    has: list[str], given: str, tmp_path: Path, commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(environments, "instructions", lambda: has)
    set_up(tmp_path / "all", 2)
    [installed] = [c for c in commands if "install" in c and "sentencepiece" in c]
    assert installed[installed.index("--config-settings") + 1] == (
        f"cmake.args={given.replace(' ', ';')}"
    )


def test_the_checkpoint_has_a_billion_parameters() -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(configuration())
    assert model.num_parameters() == pytest.approx(1e9, rel=0.02)
    small = configuration(2)
    assert (small.text_config.num_hidden_layers, small.vision_config.depth) == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "settings", "visual"),
    [
        ("float32", {}, 8 * 16),
        ("int8", {"method": "none"}, 8 * 16),
        ("float32", {"method": "dycoke-plus", "retain": 0.5}, 64),
    ],
)
def test_our_runner_answers(weights: str, settings: dict[str, object], visual: int) -> None:
    threads = torch.get_num_threads()
    task = Task("mini", "", [0.0] * 8, "What happens?", 3, threads, weights, settings)
    found = ours.answer(task)
    assert (found.visual, found.written) == (visual, 3)
    assert found.text > 5
    assert min(found.vision, found.prefill, found.token) > 0
    assert found.vision + found.prefill < found.total  # seconds of a busy machine: no closer
    assert found.version.startswith("dycoke " if settings else "transformers ")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_counts_from_when_it_was_forgotten() -> None:
    """In a process of its own: memory of earlier tests may be freed meanwhile."""
    code = """
from benchmarks.resident import forget_peak, peak
held = bytearray(b"x") * 200_000_000
del held
forget_peak()
before = peak()
held = bytearray(b"x") * 100_000_000
print(peak() - before)
"""
    grown = int(
        subprocess.check_output(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2], text=True
        )
    )
    assert 80_000_000 < grown < 150_000_000


def test_the_kept_tables_are_those_of_the_answers() -> None:
    for name, text in made_again().items():
        assert csv_files(text, name) == kept_files(name)
