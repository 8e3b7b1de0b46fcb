"""Which rule of decode pruning a language model with published weights stands, on text.

`python -m benchmarks.decode_rules --model PATH` asks what isn't answered yet (an interrupted run
resumes) and prints the table; `--keep NAME` keeps the answers in `docs/data`. `--report` makes the
tables of the kept ones, without a model, and `--write` puts them into docs/data/tables. PATH is the
folder of a language model or of a video model, whose language model is asked, or a GGUF file, which
needs the packages gguf and accelerate.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.decode_rules.ask_rules import RuleAnswer, asked_by_all, check_equals_stock
from benchmarks.decode_rules.contexts import context
from benchmarks.decode_rules.load_decoder import load_decoder
from benchmarks.decode_rules.table import table
from benchmarks.decode_rules.text_decoder import prompt_of
from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_answers import SUFFIX, tables_of
from benchmarks.kept_tables import DATA, keep
from benchmarks.page import machine
from dycoke_cli.version import running_commit

OUT = Path("runs/decode_rules")
SENTENCES = {"280": 20, "2000": 146}
"""By name of a run, which is about how many tokens may be pruned: sentences beside the fact."""


def ask(path: Path, run: str, contexts: int, out: Path) -> Path:
    """Ask all rules about every context that isn't answered yet; the file of answers."""
    decoder, tokenizer = load_decoder(path)
    with torch.inference_mode():
        check_equals_stock(decoder, prompt_of(tokenizer, context(0, SENTENCES[run])))
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{path.stem}-{run}.jsonl"
    done = {line["context"] for line in read_lines(file) if "context" in line}
    if not done:
        append_line(
            file,
            {"model": path.name, "sha256": _digest(path), "layers": decoder.layers}
            | {"windows": sorted(decoder.windows), "commit": running_commit()}
            | {"machine": machine(), "sentences": SENTENCES[run]},
        )
    for number in range(contexts):
        if number in done:
            continue
        asked = context(number, SENTENCES[run])
        prompt = prompt_of(tokenizer, asked)
        with torch.inference_mode():
            answers = asked_by_all(decoder, tokenizer, prompt, asked.answer, number)
            rows = [*map(_row, answers)]
        part = prompt.prunable
        append_line(file, {"context": number, "prunable": part.stop - part.start, "rows": rows})
        print(f"{run}: {number + 1} of {contexts}", file=sys.stderr)
    return file


def _row(answer: RuleAnswer) -> dict[str, Any]:
    """An answer with the keys of its rule among its own."""
    row = asdict(answer)
    return row.pop("rule") | row


def main(given: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF file, or a folder of transformers")
    parser.add_argument(
        "--run", choices=SENTENCES, default="280", help="prunable tokens, about (280)"
    )
    parser.add_argument("--contexts", type=int, default=200, help="how many (200)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    parser.add_argument("--keep", metavar="NAME", help="keep the answers in docs/data as NAME")
    parser.add_argument("--report", action="store_true", help="make the tables of docs/data")
    parser.add_argument("--write", action="store_true", help="with --report: into docs/data/tables")
    of = parser.parse_args(given)
    if of.report:
        for name, text in tables_of("decode-rules", table).items():
            print(text)
            if of.write:
                keep(text, name)
        return
    if of.model is None:
        parser.error("--model PATH is the model; or --report")
    answers = ask(of.model, of.run, of.contexts, of.out).read_bytes()
    if of.keep:
        (DATA / f"{of.keep}{SUFFIX}").write_bytes(lzma.compress(answers, preset=9))
    print(table(answers))


def _digest(path: Path) -> str:
    """SHA-256 of a GGUF file, or of a folder's weights, one after the other."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
