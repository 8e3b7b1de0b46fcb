"""Errors of libraries while a model answers: if memory runs out, the flags that help."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.engine.explaining import faults_of
from dycoke_cli.errors import ModelError, OutOfMemoryError, VideoError
from dycoke_cli.models.devices import is_out_of_memory
from tests.families.sessions import loaded_of
from tests.families.stock import clip

METHOD = DyCoke(prune_layer=2)
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(CPU),
    RuntimeError("alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried to "
                 "allocate 17179869184 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.71 GB, max allowed: 18.13 GB)."),
    RuntimeError("CUDA error: out of memory"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_what_allocators_raise_is_known(error):
    assert is_out_of_memory(error)
    with (
        pytest.raises(OutOfMemoryError, match="memory ran out; use fewer frames") as found,
        faults_of(loaded_of("llava_onevision")),
    ):
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("CUDA error: unspecified launch failure"), "RuntimeError: CUDA error: unsp"),
        (ModuleNotFoundError("No module named 'timm'", name="timm"), "No module named 'timm'"),
        (IndexError("index out of range in self"), "IndexError: index out of range in self"),
        (AssertionError(), r"\(AssertionError\)"),
    ],
)
def test_what_else_a_library_raises_is_one_sentence(error, cause):
    sentence = r"failed while it answered \(.*\): its files may not fit each other .*--device cpu"
    with pytest.raises(ModelError, match=cause) as found, faults_of(loaded_of("llava_onevision")):
        raise error
    assert re.search(sentence, str(found.value))


@pytest.mark.parametrize(
    ("family", "height", "width"), [("qwen2_5_vl", 4, 1000), ("video_llama_3", 999, 3)]
)
def test_frames_that_a_processor_refuses_are_named(family, height, width):
    frames = np.zeros((5, height, width, 3), np.uint8)
    with pytest.raises(VideoError) as found:
        VideoSession(loaded_of(family), replace(clip(5), frames=frames))
    says = f"refuses 5 frames of {width}x{height} pixels (absolute aspect ratio"
    assert says in str(found.value)
