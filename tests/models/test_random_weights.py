"""Models with random weights: built as the stock class builds them, filled as we say, marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels import replacing
from dycoke_cli.kernels.linear import int8_kernels
from dycoke_cli.models import catalog, resolve
from dycoke_cli.models import load as random_weights
from dycoke_cli.models.load import WEIGHT_STD, random_model
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from tests.families.stock import clip
from tests.families.tiny import MAKERS, make

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl", "internvl", "qwen3_vl_moe"])
def test_it_is_the_stock_model_filled(family: str) -> None:
    stock = MAKERS[family]()[0]
    model = random_model(stock.config, CPU, torch.bfloat16)
    assert type(model) is type(stock)
    assert not model.training
    shapes = {name: tensor.shape for name, tensor in stock.named_parameters()}
    assert {name: tensor.shape for name, tensor in model.named_parameters()} == shapes
    assert {tensor.dtype for tensor in model.parameters()} == {torch.bfloat16}
    for name, tensor in model.named_parameters():
        if tensor.dim() > 1 and tensor.numel() > 1000:
            numbers = tensor.detach().float()
            assert float(numbers.std()) == pytest.approx(WEIGHT_STD, rel=0.1), name
            assert abs(float(numbers.mean())) < WEIGHT_STD / 5, name
        elif name.endswith("norm.weight"):
            assert (tensor == 1).all(), name
        elif name.endswith(".bias"):
            assert (tensor == 0).all(), name
    # The rotary tables are no weights; without them a model is fast and wrong.
    tables = dict(stock.named_buffers())
    assert tables
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer.float(), tables[name].float()), name


@pytest.mark.parametrize("tied", [False, True])
def test_ties_are_kept(tied: bool) -> None:
    config = make("llava_onevision")[0].config.__class__.from_dict(
        MAKERS["llava_onevision"]()[0].config.to_dict() | {"tie_word_embeddings": tied}
    )
    config.text_config.tie_word_embeddings = tied
    model = random_model(config, CPU, torch.float32)
    same = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert same is tied


def test_the_same_weights_each_time_and_no_two_rows_alike() -> None:
    config = MAKERS["qwen2_vl"]()[0].config
    one, other = (random_model(config, CPU, torch.float32) for _ in range(2))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
    words = one.get_input_embeddings().weight
    assert len(words.unique(dim=0)) == len(words)
    first, second = (layer.self_attn.q_proj.weight for layer in one.get_decoder().layers[:2])
    assert not torch.equal(first, second)


def test_more_numbers_than_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_weights, "_BLOCK", 1009)
    model = random_model(MAKERS["qwen2_vl"]()[0].config, CPU, torch.float32)
    matrices = [p.detach().flatten() for p in model.parameters() if p.dim() > 1]
    written = torch.cat(matrices)
    assert torch.equal(written[:1009], written[1009:2018])
    assert torch.equal(written, written[:1009].repeat(len(written) // 1009 + 1)[: len(written)])


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A published model made small: its classes and its shape are left as they are."""
    model = json.loads((catalog.CONFIGURATIONS / "qwen3-vl-2b.json").read_text())
    config = model["config"]
    config["text_config"] |= SMALL
    config["text_config"]["rope_parameters"]["mrope_section"] = [2, 1, 1]
    config["vision_config"] |= {
        "depth": 3, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2,
        "out_hidden_size": 32, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    processor = json.loads((catalog.CONFIGURATIONS / "processors" / "qwen3-vl.json").read_text())
    special = processor["tokenizer"]["special"]
    # Special tokens right behind the bytes: of 150,000 words a tokenizer takes half a second.
    less = min(special.values()) - 256
    named = {name: at for name, at in config.items() if name.endswith("_token_id")}
    for ids, moved in ((special, special), (config, named)):
        ids |= {name: at - less for name, at in moved.items()}
    config["text_config"]["vocab_size"] = max(special.values()) + 1
    (tmp_path / "small.json").write_text(json.dumps(model))
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "qwen3-vl.json").write_text(json.dumps(processor))
    for module in (catalog, resolve):
        monkeypatch.setattr(module, "CONFIGURATIONS", tmp_path)
    return "small"


def test_it_answers_and_says_that_it_means_nothing(small: str) -> None:
    loaded = load(small, device="cpu", dtype="bfloat16", random_weights=True)
    assert (loaded.dtype, loaded.name) == ("bfloat16", "small (random weights)")
    method = DyCoke(positions="kept")
    answer = VideoSession(loaded, clip(4)).ask("What is it?", method, max_tokens=6)
    assert answer.model.name == "small (random weights)"
    assert "the weights are random, so the answer means nothing" in answer.warnings[0]
    # It goes on to the end: figures of two runs can be compared.
    assert (answer.finish_reason, answer.tokens.generated) == ("length", 6)
    assert 0 < answer.tokens.visual_kept < answer.tokens.visual


def test_in_8_bits_it_answers_too(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", 16)
    loaded = load(small, device="cpu", random_weights=True, quantize="int8")
    assert (loaded.dtype, loaded.identity) == ("int8", None)
    assert isinstance(loaded.model.lm_head, tuple(int8_kernels().values()))
    answer = VideoSession(loaded, clip(4)).ask("What?", DyCoke(positions="kept"), max_tokens=3)
    assert answer.tokens.generated == 3


def test_positions_suit_the_family_where_the_catalog_is_silent(small: str) -> None:
    resolved = resolve_model(small, LoadOptions(device="cpu", random_weights=True))
    assert resolved.info.defaults == {"prune_layer": 3, "positions": "kept"}


@pytest.mark.parametrize(
    "options",
    [{"revision": "main"}, {"device_map": "auto"}],
    ids=lambda options: next(iter(options)),
)
def test_what_does_not_go_with_it(options: dict[str, str]) -> None:
    sentence = f"random_weights builds a published.*drop {next(iter(options))}"
    with pytest.raises(UsageError, match=sentence):
        load("llava-onevision-0.5b", random_weights=True, **options)
