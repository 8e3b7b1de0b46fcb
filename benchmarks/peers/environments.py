"""How each peer is set up: a virtual environment of its own, and the checkpoint in its form.

All of them borrow torch from the Python that sets them up, so that it isn't downloaded again;
what they install themselves comes before it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import ROOT
from benchmarks.peers.checkpoint import write_checkpoint
from dycoke_cli.instruction_sets import instructions

CHECKPOINT, MODEL, READY = "checkpoint", "model", "ready"
"""What is in the folder, and in that of a peer; the last file says that nothing is missing."""
SET_UP = "python -m benchmarks.peers --setup DIR"
# Releases that were seen to work with one another. This exporter has no later transformers.
OPENVINO_RELEASES = ("openvino-genai==2026.4.1.0", "optimum-intel==2.2.0", "transformers==5.0.0")
LLAMA_CPP_RELEASE = "llama-cpp-python==0.3.36"
Run = Callable[[Sequence[str]], None]


FLOAT32, BFLOAT16, INT8, INT4 = "float32", "bfloat16", "int8", "int4"
"""Weights of a row. What each program makes of fewer bits is its own: see `turns.ROWS`."""


@dataclass(frozen=True)
class Peer:
    """A program beside ours."""

    name: str  # of its folder
    runner: str  # module in `benchmarks.peers.runners`
    # fills its folder, in which there is a virtual environment; given that folder, the checkpoint,
    # and what runs a command or raises `CalledProcessError`
    install: Callable[[Path, Path, Run], None]

    def model(self, environments: Path, weights: str) -> Path:
        """The folder of the checkpoint in its form, with such weights."""
        return environments / self.name / MODEL / weights

    def is_ready(self, environments: Path) -> bool:
        """Whether its set-up came to an end."""
        return (environments / self.name / READY).exists()

    def python(self, environments: Path) -> Path:
        """The interpreter of its environment."""
        return environments / self.name / "bin" / "python"

    def set_up(self, environments: Path, run: Run) -> None:
        """Make its environment anew."""
        folder = environments / self.name
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(folder)])
        (borrowed,) = folder.glob("lib/python*/site-packages")
        (borrowed / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.install(folder, environments / CHECKPOINT, run)
        (folder / READY).touch()


def _openvino(folder: Path, checkpoint: Path, run: Run) -> None:
    run([*_pip(folder), "install", *OPENVINO_RELEASES])
    export = [str(folder / "bin" / "optimum-cli"), "export", "openvino"]
    task = ["--task", "image-text-to-text", "--model", str(checkpoint)]
    for weights, name in ((FLOAT32, "fp32"), (INT8, "int8"), (INT4, "int4")):
        run([*export, *task, "--weight-format", name, str(folder / MODEL / weights)])


def _llama_cpp(folder: Path, checkpoint: Path, run: Run) -> None:
    # From source: for this processor, and llama.cpp's converter is nowhere else on the index.
    from_source = ["--no-binary", "llama-cpp-python", LLAMA_CPP_RELEASE]
    built = ["--config-settings", f"cmake.args={';'.join(_cmake_arguments(instructions()))}"]
    run([*_pip(folder), "install", *from_source, *built, "sentencepiece"])
    sources = folder / "sources"
    run([*_pip(folder), "download", "--no-deps", *from_source, "--dest", str(sources)])
    (packed,) = sources.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(sources, filter="data")
    (converter,) = sources.glob("*/vendor/llama.cpp")
    python, made = [str(folder / "bin" / "python"), "-m"], folder / MODEL
    for weights, name in ((FLOAT32, "f32"), (INT8, "q8_0")):
        (made / weights).mkdir(parents=True)
        for file, further in (("model.gguf", ()), ("mmproj.gguf", ("--mmproj",))):
            given = [str(converter), str(checkpoint), str(made / weights / file), name, *further]
            run([*python, "benchmarks.peers.runners.convert_gguf", *given])
    # The converter has no 4 bits. The vision tower of published files of 4 bits has 8 or 16.
    (made / INT4).mkdir()
    quantized = [str(made / weights / "model.gguf") for weights in (FLOAT32, INT4)]
    run([*python, "benchmarks.peers.runners.quantize_gguf", *quantized])
    (made / INT4 / "mmproj.gguf").hardlink_to(made / INT8 / "mmproj.gguf")


def _cmake_arguments(has: Collection[str]) -> list[str]:
    """Of llama.cpp's build: what this processor has, as `ONEDNN_MAX_CPU_ISA` limits all programs.

    Without AMX: with it this release ends in an illegal instruction (a Xeon, Linux 6.18).
    """
    if "avx2" not in has:  # nothing of x86
        return ["-DGGML_NATIVE=ON"]
    wanted = {
        "AVX512": "avx512_f", "AVX512_VBMI": "avx512_vnni", "AVX512_VNNI": "avx512_vnni",
        "AVX512_BF16": "avx512_bf16",
    }  # fmt: skip
    return [
        "-DGGML_NATIVE=OFF",
        *(f"-DGGML_{name}={'ON' if needed in has else 'OFF'}" for name, needed in wanted.items()),
    ]


def _pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip"]


OPENVINO_GENAI = Peer("openvino", "genai", _openvino)
LLAMA_CPP = Peer("llama.cpp", "mtmd", _llama_cpp)
PEERS = (OPENVINO_GENAI, LLAMA_CPP)


def set_up(environments: Path, layers: int | None = None) -> list[str]:
    """Set up whatever isn't yet; a sentence for each peer that can't be."""
    environments.mkdir(parents=True, exist_ok=True)
    if not (environments / CHECKPOINT / READY).exists():
        shutil.rmtree(environments / CHECKPOINT, ignore_errors=True)
        write_checkpoint(environments / CHECKPOINT, layers)
        (environments / CHECKPOINT / READY).touch()
    failed = []
    for peer in PEERS:
        if peer.is_ready(environments):
            continue
        try:
            peer.set_up(environments, run)
        except subprocess.CalledProcessError as error:
            failed.append(f"{peer.name} can't be set up: `{' '.join(error.cmd)}` failed")
    return failed


def run(command: Sequence[str]) -> None:
    """Run a command where the runners are found; what it prints is shown."""
    subprocess.run(command, check=True, cwd=ROOT)
