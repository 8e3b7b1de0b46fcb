"""Converts the checkpoint for llama.cpp, by llama.cpp's own converter; runs in its environment.

`python -m benchmarks.peers.runners.convert_gguf SOURCES MODEL OUT TYPE [--mmproj]`
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

NO_MERGE = "Ā Ā"
"""The checkpoint's tokens are bytes and nothing is merged, but llama.cpp wants a merge to be named:
of two bytes that are in no question."""


def convert(sources: str, arguments: list[str]) -> None:
    """Run the converter, which knows tokenizers by the hash of what they make of a text."""
    sys.path.insert(0, sources)
    converter = importlib.import_module("convert_hf_to_gguf")
    base = importlib.import_module("conversion.base")
    base.TextModel.get_vocab_base_pre = lambda *_: "qwen2"
    vocabulary = base.gguf.SpecialVocab
    add = vocabulary.add_to_gguf

    def add_with_merge(self: Any, *given: Any, **named: Any) -> None:
        self.merges = self.merges or [NO_MERGE]
        add(self, *given, **named)

    vocabulary.add_to_gguf = add_with_merge
    sys.argv[1:] = arguments
    converter.main()


if __name__ == "__main__":
    model, out, kind, *rest = sys.argv[2:]
    convert(sys.argv[1], [model, "--outtype", kind, "--outfile", out, *rest])
