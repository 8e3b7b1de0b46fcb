"""From how many visual tokens on decode pruning pays: measured, and nowhere a constant."""

from dataclasses import replace

import pytest
import torch

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.dycoke import PAYS_FROM, DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine import break_even as module
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.break_even import FEW, MANY, NEVER, PRUNED, TimedStep, break_even
from dycoke_cli.kernels import choice
from dycoke_cli.kernels.attention_interface import attention
from dycoke_cli.kernels.processor import STOCK_KERNEL
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.traits import DecodeAttention, ModelTraits
from tests.families.tiny import make

SIZES = DecodeAttention(6, 4, 2, 16, "float32", "cpu", measuring=True)
TRAITS = ModelTraits(
    "llava_onevision", FAMILIES["llava_onevision"], {"prune_layer": 3, "positions": "kept"}, 6
)


@pytest.mark.parametrize(
    ("at_few", "at_many", "expected"),
    [
        (-1.0, 1.0, (FEW + MANY) // 2),
        (-7.0, 0.0, MANY),
        (-7.0, -3.5, 2 * MANY - FEW),
        (0.5, 8.0, 0),  # the line crosses 0 at no tokens
        (0.25, 8.0, 320),  # at 264.3: the next multiple of 64
        (3.0, 2.0, 0),
        (3.0, -2.0, NEVER),
        (-1.0, -1.0, NEVER),
        (-1.0, -2.0, NEVER),
        (-1.0, -0.9999, NEVER),  # at 76 million
    ],
)
def test_where_a_line_crosses_zero(at_few: float, at_many: float, expected: int) -> None:
    assert break_even(at_few, at_many) == expected


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """Times in place of measured ones; by what is asked for, pruning saves 1 ms from MANY on."""
    asked: dict[str, dict[str, float]] = {}

    def measured(shapes, quantized, limit_s):
        for shape in shapes:
            asked[str(shape)] = {STOCK_KERNEL: shape.visual / 1024, PRUNED: 8.0}
        return asked

    monkeypatch.setattr(module, "measured", measured)
    return asked


def test_auto_is_the_break_even_of_the_loaded_model(times) -> None:
    for method in (DyCoke(prune_from=None), DyCokePlus(kv_prune=True)):
        assert bind(method, TRAITS).method.prune_from is None
        bound = bind(method, replace(TRAITS, decode=SIZES))
        assert bound.method.prune_from == MANY
        kept = bound.attended_tokens(MANY - 1)
        assert kept == MANY - 1 > bound.attended_tokens(MANY)
    # Its time depends on the method and on the share that it prunes.
    assert len(times) == 4
    bind(DyCokePlus(prune_ratio=0.5), replace(TRAITS, decode=SIZES))
    assert len(times) == 6


def test_a_number_and_what_is_not_pruned_need_no_times(times) -> None:
    traits = replace(TRAITS, decode=SIZES)
    assert bind(DyCoke(), traits).method.prune_from == 0
    assert bind(DyCokePlus(prune_from=77), traits).method.prune_from == 77
    assert bind(DyCokePlus(), traits).method.prune_from is None
    assert not times


def test_what_is_not_timed_has_the_usual_break_even(monkeypatch) -> None:
    monkeypatch.setattr(choice, "is_overloaded", lambda: True)
    for decode in (SIZES, replace(SIZES, measuring=False)):
        bound = bind(DyCoke(prune_from=None), replace(TRAITS, decode=decode))
        assert bound.method.prune_from == PAYS_FROM


def test_what_was_measured_is_measured_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    monkeypatch.setattr(choice, "is_overloaded", lambda: False)
    monkeypatch.setattr(module, "FEW", 64)
    monkeypatch.setattr(module, "MANY", 512)
    traits = replace(TRAITS, decode=SIZES)
    first = bind(DyCoke(prune_from=None), traits)
    monkeypatch.setattr(choice, "is_overloaded", lambda: True)  # which measures nothing
    assert bind(DyCoke(prune_from=None), traits) == first
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "other"))
    assert bind(DyCoke(prune_from=None), traits).method.prune_from == PAYS_FROM


def test_of_a_model_that_is_loaded() -> None:
    model, _ = make("llava_onevision", torch.float32)
    sizes = DecodeAttention.of(model)
    text = model.config.get_text_config()
    assert (sizes.layers, sizes.heads) == (text.num_hidden_layers, text.num_attention_heads)
    assert (sizes.dtype, sizes.device) == ("float32", "cpu")
    assert not sizes.measuring  # a tiny one


@pytest.mark.parametrize("method", [DyCoke(prune_layer=2, prune_from=0), DyCokePlus(prune_from=0)])
def test_steps_read_what_answers_read(method, monkeypatch) -> None:
    """A timed step attends to all 100 visual tokens and 64 others, or to a selection of them."""
    keys: list[int] = []

    def counting(layer, query, key, *args, **options):
        keys.append(key.shape[2])
        return attention(layer, query, key, *args, **options)

    monkeypatch.setitem(module.ALL_ATTENTION_FUNCTIONS, "counting", counting)
    sizes = replace(SIZES, implementation="counting")
    bound = BoundMethod(method)
    kernels = TimedStep(sizes, bound, 100).kernels(False)
    with torch.inference_mode():
        for step in (1, 2):  # each step adds a token
            keys.clear()
            kernels[STOCK_KERNEL]()
            assert keys == [100 + 64 + step] * 6
            keys.clear()
            kernels[PRUNED]()
            left = bound.attended_tokens(100) + 64 + step
            first = bound.decode_pruning.layer
            assert keys == [100 + 64 + step] * first + [left] * (6 - first)
