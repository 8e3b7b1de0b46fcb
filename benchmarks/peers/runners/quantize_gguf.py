"""Quantizes a language model to Q4_K_M, by llama.cpp's own function; runs in its environment.

`python -m benchmarks.peers.runners.quantize_gguf MODEL OUT`
"""

from __future__ import annotations

import sys

import llama_cpp

if __name__ == "__main__":
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    model, out = (argument.encode() for argument in sys.argv[1:])
    if llama_cpp.llama_model_quantize(model, out, settings):
        raise SystemExit(f"llama.cpp can't quantize {sys.argv[1]}")
