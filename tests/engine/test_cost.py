"""What an answer would cost, against the paper's figures, a model that is loaded, and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.compression.fastv import FastV
from dycoke_cli.engine.cost import Cost, clip_tokens, estimate_cost
from dycoke_cli.engine.flops import prefill_flops
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.frame_tokens import ClipTokens
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.memory import Machine
from dycoke_cli.models.resolve import ModelRef, find

CLIP = ClipTokens(32, 196)
HERE = Machine(24 * 10**9, ())
# Hidden size, MLP width and layers of Qwen2, as its makers published them.
QWEN2 = {
    "llava-onevision-0.5b": (896, 4864, 24),
    "llava-onevision-7b": (3584, 18944, 28),
    "llava-onevision-72b": (8192, 29568, 80),
}


def cost(name: str, method: Method | None = None, machine: Machine = HERE, **loading: str) -> Cost:
    options = LoadOptions(**loading)  # type: ignore[arg-type]
    return estimate_cost(find(name), CLIP, method or DyCoke(), options, 128, machine)


def test_flops_of_the_paper() -> None:
    """40.8 → 17.4 T (Table 1); the paper counts 58.8 tokens of a compared frame, and 58 stay."""
    found = cost("llava-onevision-7b").flops
    assert found.prefill_uncompressed / 1e12 == pytest.approx(40.77, abs=0.01)
    papers = prefill_flops([2979.2] * 28, hidden=3584, mlp=18944)  # type: ignore[list-item]
    assert papers / 1e12 == pytest.approx(17.39, abs=0.01)
    assert found.prefill / papers == pytest.approx(2960 / 2979.2, abs=0.002)


@pytest.mark.parametrize("name", QWEN2)
def test_flops_by_hand(name: str) -> None:
    d, m, layers = QWEN2[name]
    found = cost(name)

    def prefill(n: int) -> float:
        return layers * (4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m)

    def decode(by_layer: list[int]) -> float:
        r = 128
        return sum(r * (4 * d**2 + 2 * d * m + 2 * (d * n + d * (r + 1) / 2)) for n in by_layer)

    kept = 8 * 196 + 24 * 58
    active = int(kept * (1 - 0.7))
    assert found.tokens.visual_kept == kept
    assert found.flops.prefill_uncompressed == pytest.approx(prefill(6272))
    assert found.flops.prefill == pytest.approx(prefill(kept))
    assert found.flops.decode_uncompressed == pytest.approx(decode([6272] * layers))
    assert found.flops.decode == pytest.approx(decode([kept] * 3 + [active] * (layers - 3)))
    read = (3 * kept + (layers - 3) * active) / layers
    assert found.tokens.visual_read_per_step == pytest.approx(read)


def test_a_choice_inside_holds_for_the_prompt() -> None:
    found = cost("llava-onevision-7b", FastV(prune_ratio=0.5, prune_layer=2))
    by_layer = [6272] * 2 + [3136] * 26
    assert found.flops.prefill == pytest.approx(prefill_flops(by_layer, hidden=3584, mlp=18944))
    assert found.tokens.visual_kept == 6272


def test_kv_cache_and_weights_by_hand() -> None:
    found = cost("llava-onevision-7b", dtype="bfloat16").bytes
    # Four KV heads of 128 numbers, keys and values, in two bytes, in 28 layers.
    entry = 2 * 4 * 128 * 2 * 28
    assert found.kv_cache_uncompressed == entry * (6272 + 64 + 128)
    assert found.kv_cache == entry * (2960 + 64 + 128)
    assert found.weights == 2 * 8_030_000_000
    assert cost("llava-onevision-7b", dtype="float32").bytes.weights == 2 * found.weights
    assert cost("llava-onevision-7b", quantize="int4").bytes.weights == found.weights // 4


@pytest.mark.parametrize(
    ("machine", "fits"),
    [
        (Machine(24 * 10**9, ()), "ram"),
        (Machine(24 * 10**9, (80 * 10**9,)), "gpu"),
        (Machine(10**9, (8 * 10**9,)), "no"),
        (Machine(None, ()), None),
    ],
)
def test_where_it_fits(machine: Machine, fits: str | None) -> None:
    assert cost("llava-onevision-7b", machine=machine).fits == fits


def test_it_is_what_an_answer_says() -> None:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import load
    from dycoke_cli.video import Sampling, read

    clip = read(Path(__file__).parents[2] / "sample_videos" / "move.mp4", Sampling(frames=8))
    loaded = load("mini", device="cpu")
    answer = VideoSession(loaded, clip).ask("What does the blue star do?", DyCoke())
    height, width = clip.frames.shape[1:3]
    tokens = clip_tokens(find("mini"), 8, height, width)
    found = estimate_cost(find("mini"), tokens, DyCoke(), LoadOptions(device="cpu"), 128, HERE)
    assert (found.tokens.visual, found.tokens.visual_kept) == (
        answer.tokens.visual,
        answer.tokens.visual_kept,
    )
    assert found.tokens.visual_read_per_step == pytest.approx(answer.tokens.visual_read_per_step)
    assert found.method == answer.method
    assert found.dtype == answer.model.dtype
    entry = 2 * 4 * 64 * 2 * 10  # keys and values of four heads in two bytes, in ten layers
    prompt = answer.tokens.visual_kept + answer.tokens.text
    assert answer.bytes.kv_cache >= prompt * entry
    assert found.bytes.kv_cache == (answer.tokens.visual_kept + 64 + 128) * entry
    assert found.bytes.weights == pytest.approx(answer.bytes.weights, rel=0.05)


def test_a_layer_that_the_model_does_not_have() -> None:
    with pytest.raises(UsageError, match="prune_layer must be from 1 to 9 for mini"):
        cost("mini", DyCoke(prune_layer=10))


def test_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_onevision"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    folder = ModelRef("mine", str(tmp_path), None, local=True)
    with pytest.raises(ModelError, match="leaves its sizes to the stock class"):
        estimate_cost(folder, CLIP, DyCoke(), LoadOptions(), 128, HERE)
    elsewhere = ModelRef("a/b", "a/b", None, local=False)
    with pytest.raises(ModelError, match="dycoke models pull a/b"):
        estimate_cost(elsewhere, CLIP, DyCoke(), LoadOptions(), 128, HERE)
    with pytest.raises(UsageError, match="known by its processor alone"):
        clip_tokens(elsewhere, 8, 720, 1280)
