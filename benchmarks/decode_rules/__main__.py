"""Which rule of decode pruning a language model with published weights stands, on text.

`python -m benchmarks.decode_rules --model PATH` asks what isn't answered yet (an interrupted run
resumes) and prints the table; `--keep NAME` keeps the answers in `docs/data`. `--report` makes the
tables of the kept ones, without a model, and `--write` puts them into docs/results.md. PATH is a
GGUF file, read with the packages of the extra `evidence`, or a folder of transformers: a language
model, or a video model, of which the language model is asked.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks.decode_rules.contexts import Context, context
from benchmarks.decode_rules.decoder import Decoder, around_text, digest, load
from benchmarks.decode_rules.rules import Decode, Kind, Rule
from benchmarks.decode_rules.table import table
from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_answers import run
from benchmarks.page import machine
from dycoke_cli.stock.cache_argument import CACHE_ARGUMENT, cache_of
from dycoke_cli.version import running_commit

OUT = Path("runs/decode_rules")
SENTENCES = {"280": 20, "2000": 146}
"""By name of a run, which is about how many tokens may be pruned: sentences beside the fact."""
RATIOS = (0.5, 0.7, 0.9)
PAPERS_LAYER = 3
OWN: tuple[Kind, ...] = ("index", "index per head", "exact", "pages")
MOST_TOKENS = 12


def rules(decoder: Decoder) -> list[Rule]:
    """All rows, the full cache first: the paper's L, and a sixth, a third and two thirds of all."""
    rows, count = [Rule("full")], decoder.layers
    layers = sorted({PAPERS_LAYER, count // 6, count // 3, 2 * count // 3} - {0})
    # Random drops of the same layers are the same rule; so are selections per head of a single one.
    differ = any(layer not in decoder.windows for layer in range(PAPERS_LAYER))
    own = [kind for kind in OWN if kind != "index per head" or decoder.kv_heads > 1]
    for ratio in RATIOS:
        rows += [Rule("dycoke", layer, ratio) for layer in layers]
        rows += [Rule("random", layer, ratio) for layer in (0, *[PAPERS_LAYER] * differ)]
        rows += [Rule(kind, 0, ratio) for kind in own]
    return rows


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens.

    Args:
        ids: `[1, T]`, int64.
        prunable: which of them are the text.
    """

    ids: Any
    prunable: slice


def prompt_of(tokenizer: Any, asked: Context) -> Prompt:
    """The prompt by the model's template: the text, then the question."""
    before, after = around_text(tokenizer, asked.question)
    parts = [
        tokenizer(part, add_special_tokens=False)["input_ids"]
        for part in (before, asked.text, after)
    ]
    prunable = slice(len(parts[0]), len(parts[0]) + len(parts[1]))
    return Prompt(torch.tensor([[*itertools.chain(*parts)]]), prunable)


def asked_by_all(
    decoder: Decoder, tokenizer: Any, asked: Context, seed: int
) -> Iterator[dict[str, Any]]:
    """What every rule makes of a context.

    Agreement and divergence are those of the next token, with the full cache's own answer as what
    was generated before (teacher forcing), so that all steps of all rules are one forward pass. The
    text is what greedy decoding by the rule itself generates; where a rule agrees until the fact is
    named, that is the full cache's. The first token of an answer is the prefill's, and of no rule.

    Args:
        decoder: the model, with the attention of `rules`.
        tokenizer: of the model.
        asked: the context.
        seed: of random selections.
    """

    model, prompt, every = decoder.model, prompt_of(tokenizer, asked), rules(decoder)
    read = model(prompt.ids, use_cache=True, logits_to_keep=1)
    layers = [(layer.keys, layer.values) for layer in cache_of(read).layers]
    first = read.logits[0, -1].argmax()

    def decode(chosen: Sequence[Rule]) -> Decode:
        return Decode(chosen, layers, prompt.prunable, seed, decoder.windows)

    def text_of(tokens: Any) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    (answer,) = _generated(decoder, prompt, first, decode(every[:1]))
    forced = torch.tensor(answer[:-1]).expand(len(every), -1)
    logits = _step(model, DynamicCache(), forced, prompt, decode(every)).log_softmax(-1)
    likeliest = logits.argmax(-1)
    agrees = likeliest == torch.tensor(answer[1:])
    lost = torch.nn.functional.kl_div(
        logits, logits[:1].expand_as(logits), reduction="none", log_target=True
    ).sum((1, 2))
    texts = {}
    for row, same in enumerate(agrees.tolist()):
        known = (*same, False).index(False)  # then its own next token is known, too
        begun = [*answer[: known + 1], *likeliest[row, known : known + 1].tolist()]
        if all(same) or asked.answer in text_of(begun).lower():
            texts[row] = text_of(answer if all(same) else begun)
    rest = [row for row in range(len(every)) if row not in texts]
    if rest:
        own = _generated(decoder, prompt, first, decode([every[row] for row in rest]))
        texts |= {row: text_of(tokens) for row, tokens in zip(rest, own, strict=True)}
    for row, rule in enumerate(every):
        yield asdict(rule) | {
            "steps": len(answer) - 1,
            "same": int(agrees[row].sum()),
            "divergence": round(float(lost[row]), 5),
            "text": texts[row],
            "right": asked.answer in texts[row].lower(),
        }


def _step(model: Any, cache: Any, tokens: Any, prompt: Prompt, decode: Decode) -> Any:
    """The logits `[B, S, vocabulary]` behind S more tokens a row, `[B, S]`."""

    behind = prompt.ids.shape[1] + cache.get_seq_length()
    positions = torch.arange(behind, behind + tokens.shape[1])[None]
    return model(
        tokens, position_ids=positions, use_cache=True, decode=decode, **{CACHE_ARGUMENT: cache}
    ).logits


def _generated(decoder: Decoder, prompt: Prompt, first: Any, decode: Decode) -> list[list[int]]:
    """By row what greedy decoding generates, with the first token and with that which ends it."""
    ends, cache = decoder.ends, DynamicCache()
    rows = [[int(first)] for _ in decode.rules]
    for _ in range(MOST_TOKENS - 1):
        tokens = torch.tensor([row[-1:] for row in rows])
        chosen = _step(decoder.model, cache, tokens, prompt, decode)[:, -1].argmax(-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row[-1] not in ends or len(row) == 1:
                row.append(token)
        if all(row[-1] in ends for row in rows):
            break
    return rows


def ask(path: Path, run: str, contexts: int, out: Path) -> Path:
    """Ask all rules about every context that isn't answered yet; the file of answers.

    Args:
        path: the model, a GGUF file or a folder.
        run: name of the run, in `SENTENCES`.
        contexts: how many.
        out: folder of answers.
    """

    decoder, tokenizer = load(path)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{path.stem}-{run}.jsonl"
    done = {line["context"] for line in read_lines(file) if "context" in line}
    if not done:
        append_line(
            file,
            {"model": path.name, "sha256": digest(path), "layers": decoder.layers}
            | {"windows": sorted(decoder.windows), "commit": running_commit()}
            | {"machine": machine(), "sentences": SENTENCES[run]},
        )
    for number in range(contexts):
        if number in done:
            continue
        asked = context(number, SENTENCES[run])
        with torch.inference_mode():
            rows = [*asked_by_all(decoder, tokenizer, asked, number)]
        part = prompt_of(tokenizer, asked).prunable
        append_line(file, {"context": number, "prunable": part.stop - part.start, "rows": rows})
        print(f"{run}: {number + 1} of {contexts}", file=sys.stderr)
    return file


def main(given: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF file, or a folder of transformers")
    parser.add_argument(
        "--run", choices=SENTENCES, default="280", help="prunable tokens, about (280)"
    )
    parser.add_argument("--contexts", type=int, default=200, help="how many (200)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    run(
        parser,
        "decode-rules",
        table,
        lambda of: ask(of.model, of.run, of.contexts, of.out).read_bytes(),
        given,
    )


if __name__ == "__main__":
    main()
