"""A video of text: its frames, what is kept of them, and answers against the stock model's own."""

from __future__ import annotations

import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

from benchmarks.decode_rules.text_decoder import Decoder, of_model
from benchmarks.kept_tables import DATA, csv_files, kept_files
from benchmarks.page import ROOT
from benchmarks.text_video import (
    FRAMES,
    ROWS,
    Answering,
    Prompts,
    TextVideo,
    asked_by_all,
    compressed,
    table,
    text_video,
    whole,
)

SHAPE = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, "head_dim": 8,
}  # fmt: skip


def plain() -> Any:
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def windowed() -> Any:
    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, sliding_window=9, layer_types=kinds))


@pytest.fixture(scope="module", params=[plain, windowed], ids=lambda one: one.__name__)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    torch.manual_seed(0)
    return of_model(request.param().eval(), [299])


class Words:
    """A tokenizer of one token per word, with a template of its own."""

    chat_template = "its own"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return f"user : {messages[0]['content']} answer :"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [sum(word.encode()) % 290 for word in text.split()]}

    def decode(self, tokens: list[int], **_: Any) -> str:
        return " ".join(map(str, tokens))


@pytest.mark.parametrize("frames", FRAMES)
def test_one_sentence_of_one_frame_differs(frames: int) -> None:
    for number in range(8):
        made = text_video(Words(), number, frames)
        assert torch.equal(made.frames, text_video(Words(), number, frames).frames)
        rows = made.frames.tolist()
        kinds = {tuple(row): rows.count(row) for row in rows}
        assert sorted(kinds.values()) == [1, frames - 1]
        one, other = kinds
        at = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        assert at[-1] - at[0] < 16  # within a sentence, which has sixteen words at most
        changes = sum(
            a != b
            for n, (before, row) in enumerate(itertools.pairwise(rows), 1)
            for a, b in zip(before, row, strict=True)
            if n % 8  # the first frame of a window is kept anyway
        )
        assert made.changing == len(rows[0]) * -(-frames // 8) + changes


def video() -> TextVideo:
    frames = torch.tensor([[10, 11, 12, 13, 11]] * 3)
    frames[1, 2] = 77
    return TextVideo([1, 2], frames, [3, 4, 5], "x")


@torch.inference_mode()
def test_what_is_kept_of_a_video_by_hand(decoder: Decoder) -> None:
    prompts = compressed(decoder, video(), 0)
    embed = decoder.model.get_input_embeddings()
    kept = [10, 11, 12, 13, 11, 77, 12]  # the first frame, the change, and the change back
    expected = embed(torch.tensor([1, 2, *kept, 3, 4, 5]))
    for row, (kind, positions) in enumerate(ROWS):
        places = [0, 1, 2, 3, 4, 5, 6, 9, 14, 17, 18, 19]
        if kind != "random":
            torch.testing.assert_close(prompts.embeddings[row], expected)
        if positions == "renumbered":
            places = [*range(12)]
        if kind != "random" or positions == "renumbered":
            assert prompts.positions[row].tolist() == places
        assert prompts.positions[row, -3:].tolist() == places[-3:]
        weights = prompts.bias[row].exp()
        # Each token counts as those that it stands for: all fifteen together.
        assert weights[2:9].sum() == pytest.approx(15 if kind == "weighed" else 7)
        assert weights[[0, 1, -3, -2, -1]].tolist() == [1] * 5


@torch.inference_mode()
def test_each_window_of_eight_frames_keeps_its_first(decoder: Decoder) -> None:
    frames = torch.tensor([[10, 11, 12]] * 16)
    frames[9, 1] = 77
    prompts = compressed(decoder, TextVideo([1], frames, [3], "x"), 0)
    expected = [0, 1, 2, 3, 25, 26, 27, 29, 32, 49]  # 24 tokens a window; the change and back
    assert prompts.positions[0].tolist() == expected
    assert prompts.bias[ROWS.index(("weighed", "kept"))].exp().sum() == pytest.approx(2 + 48)


@torch.inference_mode()
def test_a_whole_video_is_answered_as_by_the_stock_model(decoder: Decoder) -> None:
    prompts, model = whole(decoder, video()), decoder.model
    ids = torch.tensor([[1, 2, *video().frames.flatten().tolist(), 3, 4, 5]])
    answering = Answering(decoder, prompts)
    (said,) = answering.generated()
    model.set_attn_implementation("sdpa")
    stock = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
    logits = model(torch.cat([ids, torch.tensor([stock[:3]])], 1)).logits[:, -3:]
    model.set_attn_implementation("decode_rules")
    assert said == stock
    torch.testing.assert_close(
        answering.behind(torch.tensor([stock[:3]])), logits, atol=1e-4, rtol=1e-4
    )


@torch.inference_mode()
def test_a_weight_is_that_of_equal_tokens() -> None:
    """In one layer, three equal tokens at one place are one with the weight three."""
    torch.manual_seed(0)
    one_layer = of_model(LlamaForCausalLM(LlamaConfig(**SHAPE | {"num_hidden_layers": 1})).eval())
    embed, places = one_layer.model.get_input_embeddings(), torch.tensor([[0, 1, 1, 1, 2, 3]])
    thrice = Prompts(embed(torch.tensor([[1, 9, 9, 9, 4, 5]])), places, torch.zeros(1, 6))
    tokens = embed(torch.tensor([[1, 9, 4, 5]]))
    weights = torch.tensor([[1.0, 3, 1, 1]]).log()
    once = Prompts(tokens, torch.tensor([[0, 1, 2, 3]]), weights)
    first = [Answering(one_layer, one).first for one in (thrice, once)]
    torch.testing.assert_close(*first, atol=1e-5, rtol=1e-5)
    alone = Answering(one_layer, Prompts(tokens, once.positions, torch.zeros(1, 4))).first
    assert not torch.allclose(alone, first[0], atol=1e-3)


def test_rows_are_compared_with_the_whole_video(decoder: Decoder) -> None:
    with torch.inference_mode():
        full, *rows = asked_by_all(decoder, Words(), video(), 0)
    assert (full["kind"], full["same"], full["divergence"]) == ("whole", full["steps"], 0)
    assert [(row["kind"], row["positions"]) for row in rows] == [*ROWS]
    for row in rows:
        assert (row["text"] == full["text"]) == (row["same"] == row["steps"]), row
        assert row["divergence"] >= 0
    assert any(row["divergence"] > 0.01 for row in rows)


def test_the_table() -> None:
    def row(kind: str, positions: str, same: int, right: bool) -> dict[str, Any]:
        more = {"steps": 4, "first": same > 0, "same": same, "divergence": 4.0 - same}
        return {"kind": kind, "positions": positions, "right": right, **more}

    header = {"model": "m.gguf", "layers": 30, "machine": "here", "commit": "abc"}
    videos = [
        {"passage": n, "frames": frames, "tokens": 50 * frames, "kept": 60,
         "rows": [row("whole", "kept", 4, True), row("weighed", "renumbered", 4 * n, n == 1)]}
        for n in (0, 1) for frames in FRAMES
    ]  # fmt: skip
    videos[-1]["commit"] = "def"
    # A third passage was interrupted: the rows of all numbers of frames are of the same passages.
    wrong = row("whole", "kept", 4, False), row("weighed", "renumbered", 0, False)
    videos.append({**videos[0], "passage": 2, "rows": [*wrong]})
    made = table("\n".join(map(json.dumps, [header, *videos])).encode())
    assert "| 2 | 100 % | the whole video | | 100 | 100 | 0 | 100.0 ± 0.0 |" in made
    half = "50.0 ± 50.0 | 50.0 ± 50.0 | 0.500 ± 0.500 | 50.0 ± 50.0 |"
    assert f"| 4 | 30 % | the same, proportional attention | contiguous | {half}" in made
    assert "\n\n2 passages of 50 tokens on average" in made
    assert made.endswith("here, commit abc, def.")


@pytest.mark.parametrize("file", sorted(DATA.glob("text-video-*")), ids=lambda file: file.name)
def test_the_kept_table_is_made_of_the_answers(file: Path) -> None:
    name = file.name.removesuffix(".jsonl.xz")
    assert csv_files(table(lzma.decompress(file.read_bytes())), name) == kept_files(name)


def found(name: str) -> dict[tuple[str, str, str], list[bool]]:
    """Whether each fact was found, by number of frames, what is kept, and positions."""
    rows: dict[tuple[str, str, str], list[bool]] = {}
    lines = lzma.decompress((DATA / f"text-video-{name}.jsonl.xz").read_bytes()).splitlines()
    for line in map(json.loads, lines[1:]):
        for row in line["rows"]:
            key = str(line["frames"]), row["kind"], row["positions"]
            rows.setdefault(key, []).append(row["right"])
    return rows


def share(facts: list[bool]) -> str:
    return f"{100 * sum(facts) / len(facts):.1f} ± "


def test_what_the_pages_say_of_facts() -> None:
    """Recounted from the answers."""
    results, methods = (
        " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
        for page in ("results.md", "methods.md")
    )
    rows, of_gemma = found("smollm2"), found("gemma")
    positions = ("kept", "renumbered")
    assert "**SmolLM2** finds every fact, with either kind of positions" in results
    for frames in ("2", "4", "16"):
        assert all(all(rows[frames, "kept", one]) for one in positions)
        assert all(rows[frames, "merged", "renumbered"])
    drawn = share(rows["2", "random", "kept"]), share(rows["2", "random", "renumbered"])
    told = results.partition("As many random tokens find ")[2]
    assert told.startswith(tuple(f"{one}2.1 % of them at 2 copies and none" for one in drawn))
    assert not any(any(rows["16", "random", one]) for one in positions)
    whole, changed, merged = (
        share(of_gemma["16", *row])
        for row in (("whole", "kept"), ("kept", "renumbered"), ("merged", "renumbered"))
    )
    assert f"**Gemma** finds {changed}1.0 % at 16 copies with contiguous positions" in results
    assert f"where the whole video gives {whole}1.4 %." in results
    assert f"Merging costs it facts: {merged}2.5 %." in results
    assert "With original positions it finds none" in results
    assert not any(of_gemma["16", "kept", "kept"])
    weighed = share(rows["16", "weighed", "kept"])
    assert f"half of SmolLM2's facts at 16 copies ({weighed}3.5 %) and most of Gemma's" in results
    assert sum(of_gemma["16", "weighed", "renumbered"]) < 100
    assert f"{merged}2.5 % instead of {changed}" in methods
    assert "without it every fact in a text of sixteen copies is found; with it 50.0" in methods
