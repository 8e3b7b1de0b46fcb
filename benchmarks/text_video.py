"""What compression costs a language model with published weights, on a "video of text".

A frame is a passage: the same one in all frames, but for one sentence of one frame, which has a
fact that is asked for. What changes from frame to frame is kept, as EVS keeps it in windows of
eight frames, and of all other tokens those of a window's first frame alone.

`python -m benchmarks.text_video --model PATH` asks what isn't answered yet (an interrupted run
resumes) and prints the table; `--keep NAME` keeps the answers in `docs/data`. `--report` makes the
tables of the kept ones, without a model, and `--write` puts them into docs/data/tables. PATH is as
of `benchmarks.decode_rules`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks.decode_rules.contexts import PEOPLE, TIMES, context
from benchmarks.decode_rules.load_decoder import load_decoder
from benchmarks.decode_rules.table import mean
from benchmarks.decode_rules.text_decoder import Decoder, around_text
from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_answers import digest, run
from benchmarks.page import machine
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.compression.methods.random_merge import RandomMerge
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.stock.private_api import CACHE_ARGUMENT
from dycoke_cli.version import running_commit

OUT = Path("runs/text_video")
SENTENCES = 7
FRAMES = (2, 4, 16)
WINDOW, MOST_TOKENS = 8, 12
ROWS = tuple(
    (kind, positions)
    for kind in ("kept", "merged", "weighed", "random")
    for positions in ("kept", "renumbered")
)
"""What becomes of the tokens, and their positions; the first row of all is the whole video."""
_NAMES = {
    "kept": "what changes",
    "merged": "what changes, the others merged into it",
    "weighed": "the same, proportional attention",
    "random": "as many tokens at random",
}


@dataclass(frozen=True)
class TextVideo:
    """A video of text in tokens, and a question about it."""

    before: list[int]  # tokens of the prompt before the video
    frames: torch.Tensor  # `[F, N]`, int64
    after: list[int]  # tokens behind it
    answer: str  # what was asked for

    @property
    def changing(self) -> int:
        """Tokens of the first frame of each window, and those that differ from the frame before."""
        return sum(map(_changing, self.frames.split(WINDOW)))


def _changing(window: torch.Tensor) -> int:
    return window.shape[1] + int((window[1:] != window[:-1]).sum())


def text_video(tokenizer: Any, number: int, frames: int) -> TextVideo:
    """One of the videos, the same whenever it is made."""
    asked, drawn = context(2 * number, SENTENCES - 1), random.Random(number)
    told = [one if one.endswith(".") else f"{one}." for one in asked.text.split(". ")]
    passage = [tokenizer(f" {one}", add_special_tokens=False)["input_ids"] for one in told]
    (fact,) = (place for place, one in enumerate(told) if asked.answer in one)
    plain = [one for place, one in enumerate(passage) if place != fact]
    # The sentence in whose place the fact is told has as many tokens, so that frames are equal.
    said = ("", *(f"{who} said that " for who in PEOPLE))
    begins = [f" {time}, {who}" for time, who in itertools.product(TIMES, said)]
    facts = (f"{begin}t{told[fact][1:]}" for begin in drawn.sample(begins, len(begins)))
    lengths = {len(one): place for place, one in enumerate(plain)}
    fitting = (tokenizer(one, add_special_tokens=False)["input_ids"] for one in facts)
    chosen = next((one for one in fitting if len(one) in lengths), None)
    if chosen is None:
        raise LookupError(f"no sentence of passage {number} is as long as the fact")
    changed = [chosen if place == lengths[len(chosen)] else one for place, one in enumerate(plain)]
    where = drawn.randrange(frames)
    rows = [[*itertools.chain(*(changed if f == where else plain))] for f in range(frames)]
    before, after = around_text(tokenizer, asked.question)
    ends = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)]
    return TextVideo(ends[0], torch.tensor(rows), ends[1], asked.answer)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one length."""

    embeddings: torch.Tensor  # `[B, T, D]`
    positions: torch.Tensor  # `[B, T]`, int64
    bias: torch.Tensor  # `[B, T]`, float32: added to the attention logits of each token


def compressed(decoder: Decoder, video: TextVideo, number: int) -> Prompts:
    """The prompts of all `ROWS`."""
    embed = decoder.model.get_input_embeddings()
    features = embed(video.frames)
    frames, per_frame = video.frames.shape
    counts = [*map(_changing, video.frames.split(WINDOW))]
    before, after = (embed(torch.tensor(part)) for part in (video.before, video.after))
    rows = []
    for kind, positions in ROWS:
        parts = [
            _selected(kind, frames * number + begin, features[begin : begin + WINDOW], count)
            for begin, count in zip(range(0, frames, WINDOW), counts, strict=True)
        ]
        tokens, own = (torch.cat([part[n] for part in parts]) for n in (1, 2))
        kept = torch.cat([part[0] + n * WINDOW * per_frame for n, part in enumerate(parts)])
        ends = torch.zeros(len(before)), torch.zeros(len(after))
        behind = len(before) + frames * per_frame + torch.arange(len(after))
        places = torch.cat([torch.arange(len(before)), len(before) + kept, behind])
        if positions == "renumbered":
            places = torch.arange(len(places))
        rows.append(
            (torch.cat([before, tokens, after]), places, torch.cat([ends[0], own, ends[1]]))
        )
    return Prompts(*map(torch.stack, zip(*rows, strict=True)))


def _selected(
    kind: str, seed: int, features: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is kept of a window: indices, features, and what is added to attention logits."""
    retain = (count + 0.5) / (features.shape[0] * features.shape[1])
    merges, weighs = kind in ("merged", "weighed"), kind == "weighed"
    drawn = RandomMerge(retain=retain, draw_seed=seed)
    evs = EVS(retain=retain, merge_dropped=merges, proportional=weighs)
    method = BoundMethod(drawn if kind == "random" else evs)
    selection = method.select(SelectionInputs(features))
    kept, tokens = selection.kept, features.flatten(0, 1)[selection.kept]
    bias = method.attention_bias(selection)
    return (
        kept,
        tokens if selection.features is None else selection.features,
        torch.zeros(len(kept)) if bias is None else bias.float(),
    )


def whole(decoder: Decoder, video: TextVideo) -> Prompts:
    """The prompt with all frames."""
    ids = [*video.before, *video.frames.flatten().tolist(), *video.after]
    embeddings = decoder.model.get_input_embeddings()(torch.tensor([ids]))
    return Prompts(embeddings, torch.arange(len(ids))[None], torch.zeros(1, len(ids)))


class Answering:
    """Prompts that a model has read, and what it makes of them.

    Attributes:
        first: `[B, vocabulary]`: the logits of the first token.
    """

    def __init__(self, decoder: Decoder, prompts: Prompts) -> None:
        self._decoder, self._prompts = decoder, prompts
        self._cache = DynamicCache()
        self._length = prompts.positions.shape[1]
        self.first = self._read(prompts.embeddings, prompts.positions)[:, -1]

    def behind(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits `[B, S, vocabulary]` behind each of S given tokens `[B, S]`."""
        logits = self._of_tokens(tokens)
        self._forget()
        return logits

    def generated(self) -> list[list[int]]:
        """By row what greedy decoding generates, with the token that ends it."""
        ends = self._decoder.ends
        rows = [[token] for token in self.first.argmax(-1).tolist()]
        for _ in range(MOST_TOKENS - 1):
            logits = self._of_tokens(torch.tensor([row[-1:] for row in rows]))[:, -1]
            for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
                row.append(token)
            if all(ends & {*row} for row in rows):
                break
        self._forget()
        found = []
        for row in rows:
            stop = next((n for n, token in enumerate(row) if token in ends), len(row) - 1)
            found.append(row[: stop + 1])
        return found

    def _forget(self) -> None:
        """Leave only the prompt in the cache."""
        if generated := self._cache.get_seq_length() - self._length:
            self._cache.crop(-generated)

    def _of_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        begun = self._cache.get_seq_length() - self._length
        positions = self._prompts.positions[:, -1:] + 1 + begun + torch.arange(tokens.shape[1])
        return self._read(self._decoder.model.get_input_embeddings()(tokens), positions)

    def _read(self, embeddings: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        stored, new = self._cache.get_seq_length(), embeddings.shape[1]
        bias = torch.zeros(len(embeddings), stored + new)
        bias[:, : self._length] = self._prompts.bias
        later = torch.ones(new, stored + new, dtype=torch.bool).triu(stored + 1)
        mask = bias[:, None, None].repeat(1, 1, new, 1).masked_fill(later, -torch.inf)
        logits: torch.Tensor = self._decoder.model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=self._decoder.with_windows(mask),
            use_cache=True,
            logits_to_keep=1 if not stored else 0,
            **{CACHE_ARGUMENT: self._cache},
        ).logits
        return logits


def asked_by_all(
    decoder: Decoder, tokenizer: Any, video: TextVideo, number: int
) -> Iterator[dict[str, Any]]:
    """What becomes of the answer in each row, the whole video first.

    Agreement and divergence are those of every token of the whole video's answer, the first
    included, with what comes before it given. The text is what the row generates by itself.
    """
    (answer,) = (full := Answering(decoder, whole(decoder, video))).generated()
    given = torch.tensor([answer[:-1]])
    expected = torch.cat([full.first[:, None], full.behind(given)], 1).log_softmax(-1)
    rows = Answering(decoder, compressed(decoder, video, number))
    logits = torch.cat([rows.first[:, None], rows.behind(given.expand(len(ROWS), -1))], 1)
    logits = torch.cat([expected, logits.log_softmax(-1)])
    agrees = logits.argmax(-1) == torch.tensor(answer)
    lost = torch.nn.functional.kl_div(
        logits, expected.expand_as(logits), reduction="none", log_target=True
    ).sum((1, 2))
    texts = map(tokenizer.decode, [answer, *rows.generated()])
    for row, text in enumerate(texts):
        kind, positions = ("whole", "kept") if not row else ROWS[row - 1]
        yield {
            "kind": kind,
            "positions": positions,
            "steps": len(answer),
            "first": bool(agrees[row, 0]),
            "same": int(agrees[row].sum()),
            "divergence": round(float(lost[row]), 5),
            "text": text,
            "right": video.answer in text.lower(),
        }


def ask(path: Path, texts: int, out: Path) -> Path:
    """Ask about every video that isn't answered yet; the file of answers."""
    decoder, tokenizer = load_decoder(path)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{path.stem}.jsonl"
    done = {(line["passage"], line["frames"]) for line in read_lines(file) if "passage" in line}
    commit = running_commit()
    if not done:
        about = {"model": path.name, "sha256": digest(path), "layers": decoder.layers}
        append_line(file, about | {"commit": commit, "machine": machine()})
    for number, frames in itertools.product(range(texts), FRAMES):
        if (number, frames) in done:
            continue
        video = text_video(tokenizer, number, frames)
        with torch.inference_mode():
            rows = [*asked_by_all(decoder, tokenizer, video, number)]
        size = {"tokens": video.frames.numel(), "kept": video.changing}
        asked = {"passage": number, "frames": frames, "commit": commit}
        append_line(file, asked | size | {"rows": rows})
        print(f"passage {number + 1} of {texts}, {frames} frames", file=sys.stderr)
    return file


def table(answers: bytes) -> str:
    """Agreement, divergence and facts found by row and number of frames, as Markdown."""
    header, *lines = map(json.loads, answers.splitlines())
    answered = Counter(line["passage"] for line in lines)
    videos = [line for line in lines if answered[line["passage"]] == len(FRAMES)]
    commits = {str(one["commit"]) for one in (header, *videos) if "commit" in one}
    made = [
        "| frames | tokens kept | what is kept | positions | same first token, % "
        "| same token, % | divergence, nats per token | fact found, % |",
        "| --- " * 8 + "|",
    ]
    for frames in FRAMES:
        of_frames = [one for one in videos if one["frames"] == frames]
        found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in itertools.chain(*(one["rows"] for one in of_frames)):
            found[row["kind"], row["positions"]].append(row)
        share = fmean(one["kept"] / one["tokens"] for one in of_frames)
        for (kind, positions), rows in found.items():
            right = mean([100 * row["right"] for row in rows], 1)
            if kind == "whole":
                made.append(f"| {frames} | 100 % | the whole video | | 100 | 100 | 0 | {right} |")
                continue
            cells = [
                mean([100 * row["first"] for row in rows], 1),
                mean([100 * row["same"] / row["steps"] for row in rows], 1),
                mean([row["divergence"] / row["steps"] for row in rows], 3),
                right,
            ]
            named = "original" if positions == "kept" else "contiguous"
            kept = f"| {frames} | {100 * share:.0f} % | {_NAMES[kind]} | {named}"
            made.append(f"{kept} | {' | '.join(cells)} |")
    passages = len(videos) // len(FRAMES)
    per_frame = fmean(one["tokens"] / one["frames"] for one in videos)
    made += [
        "",
        f"{passages} passages of {per_frame:.0f} tokens on average. ± is one standard error over "
        f"passages. `{header['model']}` ({header['layers']} layers) in float32. "
        f"{header['machine']}, commit {', '.join(sorted(commits))}.",
    ]
    return "\n".join(made)


def main(given: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF file, or a folder of transformers")
    parser.add_argument("--texts", type=int, default=200, help="how many passages (200)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    run(parser, "text-video", table, lambda of: ask(of.model, of.texts, of.out).read_bytes(), given)


if __name__ == "__main__":
    main()
