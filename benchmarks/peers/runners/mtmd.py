"""Answers by llama.cpp, through its C interface (llama-cpp-python), in its environment."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp

from benchmarks.peers.runners.line import (
    WARM_UP_FRAMES,
    WARM_UP_TOKENS,
    Answer,
    Task,
    given,
    say,
)
from benchmarks.resident import forget_peak, peak

LANGUAGE, VISION = "model.gguf", "mmproj.gguf"
ROOM = 1024
"""Tokens of a prompt beside those of the video, and of an answer."""


class LlamaCpp:
    """The model in memory; with float32 weights the KV cache is float32, too."""

    def __init__(self, folder: Path, threads: int, room: int, weights: str) -> None:
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            str(folder / LANGUAGE).encode(), llama_cpp.llama_model_default_params()
        )
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = room
        settings.n_threads = settings.n_threads_batch = threads
        if weights == "float32":
            settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        self.batch = llama_cpp.llama_n_batch(self.context)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.words = llama_cpp.llama_vocab_n_tokens(vocabulary)
        seeing = mtmd_cpp.mtmd_context_params_default()
        seeing.n_threads, seeing.use_gpu = threads, False
        seeing.print_timings = seeing.warmup = False
        self.tower = mtmd_cpp.mtmd_init_from_file(str(folder / VISION).encode(), self.model, seeing)
        if self.context is None or self.tower is None:
            raise SystemExit(f"llama.cpp can't load what is in {folder}")

    def answer(self, task: Task, frames: np.ndarray, tokens: int) -> Answer:
        """One answer, from frames to its last token."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        started = time.perf_counter()
        encoding, at, counted = 0.0, 0, {True: 0, False: 0}
        chunks = self._chunks(task, frames)
        for number in range(count := mtmd_cpp.mtmd_input_chunks_size(chunks)):
            chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, number)
            is_text = (
                mtmd_cpp.mtmd_input_chunk_get_type(chunk) == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_TEXT
            )
            counted[is_text] += mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
            before = time.perf_counter()
            if not is_text:
                _check(mtmd_cpp.mtmd_encode_chunk(self.tower, chunk), "encode a pair of frames")
                encoding += time.perf_counter() - before
            at = self._read(chunk, at, is_text, number == count - 1)
        token = self._most_likely()
        first = time.perf_counter()
        for _ in range(tokens - 1):
            self._write(token, at)
            at += 1
            token = self._most_likely()
        last = time.perf_counter()
        mtmd_cpp.mtmd_input_chunks_free(chunks)
        return Answer(
            vision=encoding,
            prefill=first - started - encoding,
            token=(last - first) / (tokens - 1),
            total=last - started,
            peak=peak(),
            visual=counted[False],
            text=counted[True],
            written=tokens,
            version=f"llama.cpp of llama-cpp-python {llama_cpp.__version__}",
        )

    def _chunks(self, task: Task, frames: np.ndarray) -> Any:
        """The prompt, pair after pair of frames with its time, as stock transformers write it."""
        marker = mtmd_cpp.mtmd_default_marker().decode()
        pairs = [task.times[n : n + 2] for n in range(0, len(frames), 2)]
        shown = "".join(
            f"<{sum(pair) / len(pair):.1f} seconds>{marker * len(pair)}" for pair in pairs
        )
        text = (
            f"<|im_start|>user\n{shown}{task.question}<|im_end|>\n<|im_start|>assistant\n".encode()
        )
        _, height, width, _ = frames.shape
        bitmaps = []
        for frame in frames:
            pixels = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
            bitmaps.append(mtmd_cpp.mtmd_bitmap_init(width, height, pixels))
            mtmd_cpp.mtmd_bitmap_set_mergeable(bitmaps[-1], True)
        given = (mtmd_cpp.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        prompt = mtmd_cpp.mtmd_input_text(text, len(text), False, True)
        _check(
            mtmd_cpp.mtmd_tokenize(self.tower, chunks, ctypes.byref(prompt), given, len(bitmaps)),
            "split the prompt",
        )
        for bitmap in bitmaps:
            mtmd_cpp.mtmd_bitmap_free(bitmap)
        return chunks

    def _read(self, chunk: Any, at: int, is_text: bool, last: bool) -> int:
        """Prefill by a part of the prompt; the position behind it."""
        behind = llama_cpp.llama_pos(at)
        if is_text:
            done = mtmd_cpp.mtmd_helper_eval_chunk_single(
                self.tower, self.context, chunk, at, 0, self.batch, last, ctypes.byref(behind)
            )
        else:
            done = mtmd_cpp.mtmd_helper_decode_image_chunk(
                self.tower,
                self.context,
                chunk,
                mtmd_cpp.mtmd_get_output_embd(self.tower),
                at,
                0,
                self.batch,
                ctypes.byref(behind),
                mtmd_cpp.mtmd_helper_post_decode_callback(),
                None,
            )
        _check(done, "read the prompt")
        return behind.value

    def _write(self, token: int, at: int) -> None:
        batch = llama_cpp.llama_batch_init(1, 0, 1)
        batch.n_tokens = 1
        batch.token[0], batch.pos[0], batch.logits[0] = token, at, 1
        batch.n_seq_id[0], batch.seq_id[0][0] = 1, 0
        _check(llama_cpp.llama_decode(self.context, batch), "generate a token")
        llama_cpp.llama_batch_free(batch)

    def _most_likely(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, (self.words,)).argmax())


def _check(status: int, what: str) -> None:
    if status != 0:
        raise SystemExit(f"llama.cpp couldn't {what} (status {status})")


def answer(task: Task) -> Answer:
    """There are no settings."""
    frames = np.load(task.clip)
    count, height, width, _ = frames.shape
    room = count * height * width // 32**2 + ROOM
    program = LlamaCpp(Path(task.model), task.threads, room, task.weights)
    program.answer(task, frames[:WARM_UP_FRAMES], WARM_UP_TOKENS)
    forget_peak()
    return program.answer(task, frames, task.tokens)


if __name__ == "__main__":
    say(answer(given()))
