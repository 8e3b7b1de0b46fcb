"""Models on a CPU, packed or in 8 bits: which layers, how near to the stock model, which bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.kernels import replacing
from dycoke_cli.kernels.linear import (
    Bfloat16Linear,
    FbgemmInt8Linear,
    Int8Linear,
    PackedLinear,
    can_pack,
    int8_kernels,
    saturates,
)
from dycoke_cli.kernels.replacing import (
    forget,
    mapped_files,
    to_pack,
    to_round,
    use_int8,
    use_packed,
)
from tests.families.sessions import logits_of
from tests.families.stock import clip, one_of_each_kind, stock_inputs
from tests.families.tiny import MAKERS
from tests.natural import Pictures, pan

DECODER = {
    "language_model.self_attn.q_proj", "language_model.self_attn.k_proj",
    "language_model.self_attn.v_proj", "language_model.self_attn.o_proj", "lm_head",
}  # fmt: skip
MLP = {f"language_model.mlp.{name}_proj" for name in ("gate", "up", "down")}
VISUAL = {"visual.attn.qkv", "visual.attn.proj", "visual.mlp.linear_fc1", "visual.mlp.linear_fc2"}
# The layers in 8 bits, written down from the stock classes: no projector, no router, no expert.
LAYERS = {
    "qwen3_vl": DECODER | MLP | VISUAL,
    "qwen3_vl_moe": DECODER | VISUAL,
    "internvl": DECODER
    | MLP
    | {
        f"vision_tower.{name}"
        for name in (
            "attention.q_proj", "attention.k_proj", "attention.v_proj",
            "attention.projection_layer", "mlp.fc1", "mlp.fc2",
        )
    },
}  # fmt: skip

# The kernel in 8 bits of prompts on this processor.
USUAL = next(iter(int8_kernels().values()))


def kinds(model: Any) -> set[str]:
    """The names of the layers without their numbers, and without what all have in front."""
    names = (re.sub(r"(encoder\.)?(layers?|blocks)\.\d+\.", "", name) for name in to_round(model))
    return {name.removeprefix("model.") for name in names}


@pytest.fixture
def also_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of tiny models count as large enough; those with a number a head don't."""
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", 8)
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", 8)


def in_bfloat16(family: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A tiny model and its inputs."""
    torch.manual_seed(0)
    model, processor = MAKERS[family]()
    inputs = stock_inputs(family, processor, clip(2))
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in inputs.items()}
    return model.eval().to(torch.bfloat16), inputs


@pytest.mark.parametrize("family", LAYERS)
def test_which_layers(family: str, also_small: None) -> None:
    assert kinds(MAKERS[family]()[0]) == LAYERS[family]


def test_layers_of_few_outputs_stay_whole() -> None:
    assert set(to_round(MAKERS["qwen3_vl"]()[0])) <= {"lm_head"}


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_every_family_answers(family: str, also_small: None) -> None:
    model, inputs = in_bfloat16(family)
    with torch.no_grad():
        whole = model(**inputs).logits[0, -1].float()
        names = to_round(model)
        use_int8(model)
        found = model(**inputs).logits[0, -1].float()
    assert names
    assert all(type(model.get_submodule(name)) is USUAL for name in names)
    assert torch.nn.functional.cosine_similarity(whole, found, dim=0) > 0.9
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0] == 1


def test_words_that_are_the_output_layer_too_stay_whole(also_small: None) -> None:
    config = MAKERS["qwen2_vl"]()[0].config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    model = type(MAKERS["qwen2_vl"]()[0])(config)
    words = model.get_input_embeddings().weight
    assert model.lm_head.weight is words
    before = words.detach().clone()
    use_int8(model)
    assert isinstance(model.lm_head, USUAL)
    assert isinstance(model.get_input_embeddings(), nn.Embedding)
    assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.fixture(scope="module", params=one_of_each_kind(("float32", "bfloat16"), ("float32",)))
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The bundled model as it is, and in 8 bits."""
    whole = load("mini", device="cpu", dtype=request.param)
    return whole, load("mini", device="cpu", dtype=request.param, quantize="int8")


QUESTIONS = (
    "What happens?", "Is there a star?", "What color is the circle?", "Where is it?",
    "How many are there?", "What does the square do?", "Describe the video.",
)  # fmt: skip


def test_the_bundled_model_says_nearly_the_same(pair: tuple[Any, Any]) -> None:
    video = Pictures.of(pan(4))
    logits = []
    for loaded in pair:
        session = VideoSession(loaded, video)
        with logits_of(loaded.model) as heard:
            for question in QUESTIONS:
                session.ask(question, Uncompressed(), max_tokens=1)
        logits.append(torch.stack([each[0, -1].float() for each in heard]))
    whole, found = logits
    # Where a processor has no VNNI, 7 of the 8 bits are used for tokens.
    coarser = 2.5 if USUAL is FbgemmInt8Linear and saturates() else 1
    # The median, since that of one question is .02 to .1, differently on each processor.
    error = (found - whole).norm(dim=1) / whole.norm(dim=1)
    assert error.median() < 0.06 * coarser
    assert torch.equal(whole.argmax(1), found.argmax(1))


def test_the_bundled_model_holds_half(pair: tuple[Any, Any]) -> None:
    whole, small = pair
    layers = [whole.model.get_submodule(name) for name in to_round(whole.model)]
    size = whole.model.dtype.itemsize

    def row(part: Any) -> int:
        """Bytes of an output: oneDNN has whole blocks of 64 with a tail of 8, a scale and a sum."""
        if USUAL is not Int8Linear or part is whole.model.lm_head:  # FBGEMM's
            return part.in_features + 12
        return (part.in_features + 8 + 63) // 64 * 64 + 8

    saved = sum(part.out_features * (size * part.in_features - row(part)) for part in layers)
    assert whole.weights_bytes - small.weights_bytes == saved
    parameters = sum(p.nbytes for p in whole.model.parameters())
    left = sum(p.nbytes for p in small.model.parameters())
    assert left == parameters - sum(part.weight.nbytes for part in layers)
    assert saved > 0.3 * parameters
    answer = VideoSession(small, Pictures.of(pan(1))).ask("What happens?", max_tokens=1)
    assert answer.model.dtype == "int8"
    assert answer.bytes.weights == small.weights_bytes


@pytest.mark.parametrize("kernels", one_of_each_kind(("fast", "stock"), ("fast",)))
@pytest.mark.parametrize("amx", [True, False])
def test_int8_says_where_it_is_slower(
    amx: bool, kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor that seems to have tiles: stock attention, packed layers all the same."""
    more = ["amx_bf16"] if amx else []
    monkeypatch.setattr(replacing, "instructions", lambda: ["avx2", "avx512_bf16", *more])
    loaded = load("mini", device="cpu", quantize="int8", kernels=kernels)
    assert (replacing.INT8_IS_SLOWER in loaded.warnings) is amx
    if amx:
        answer = VideoSession(loaded, Pictures.of(pan(1))).ask("Why?", max_tokens=1)
        assert replacing.INT8_IS_SLOWER in answer.to_dict()["warnings"]
        assert load("mini", device="cpu", kernels=kernels).warnings == ()


@pytest.fixture
def packing() -> None:
    if not can_pack():
        pytest.skip("this processor has no products in bfloat16 to pack for")


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_every_family_answers_the_same_packed(family: str, also_small: None, packing: None) -> None:
    model, inputs = in_bfloat16(family)
    with torch.no_grad():
        stock = model(**inputs).logits.float()
        names, whole = to_pack(model), sum(p.nbytes for p in model.parameters())
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        words = model.get_input_embeddings().weight.nbytes
        assert use_packed(model)
        found = model(**inputs).logits.float()
    assert {type(model.get_submodule(name)) for name in names} == {Bfloat16Linear}
    # What rounding may do: a few units in the eighth digit of a bfloat16, layer upon layer.
    assert (found - stock).norm() < 0.03 * stock.norm()
    parameters = sum(p.nbytes for p in model.parameters())
    assert parameters + replacing.packed_bytes(model) == whole + tied * words


def test_an_activation_behind_a_layer_goes_with_it(also_small: None, packing: None) -> None:
    model = MAKERS["llava_onevision"]()[0].eval().to(torch.bfloat16)
    mlps = [part for name, part in model.named_modules() if re.search(r"vision.*mlp$", name)]
    x = torch.randn(5, mlps[0].fc1.in_features).bfloat16()
    with torch.no_grad():
        stock = mlps[0](x)
        use_packed(model)
        found = mlps[0](x)
    assert {type(mlp.activation_fn) for mlp in mlps} == {nn.Identity}
    assert (found.float() - stock.float()).norm() < 0.02 * stock.float().norm()


def test_what_is_small_or_in_float32_stays_stock(
    packing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MAKERS["llava_onevision"]()[0]
    assert not use_packed(model.to(torch.bfloat16))
    assert not any(isinstance(part, PackedLinear) for part in model.modules())
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", 8)
    assert not use_packed(model.float())
    assert use_packed(model.to(torch.bfloat16))


def test_no_place_for_packing_leaves_a_model_as_it_is(
    also_small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "can_pack", lambda: False)
    assert not use_packed(MAKERS["llava_onevision"]()[0].to(torch.bfloat16))


@pytest.mark.parametrize("kernels", ["fast", "stock"])
def test_loading_packs_unless_told_otherwise(kernels: str, also_small: None, packing: None) -> None:
    loaded = load("mini", device="cpu", dtype="bfloat16", kernels=kernels)
    packed = [part for part in loaded.model.modules() if isinstance(part, Bfloat16Linear)]
    assert bool(packed) == (kernels == "fast")
    assert len(packed) == (
        len(to_pack(load("mini", dtype="bfloat16", kernels="stock").model)) if packed else 0
    )
    answer = VideoSession(loaded, Pictures.of(pan(8))).ask("What happens?", DyCoke(prune_layer=4))
    assert answer.answer == "I only know moving shapes."


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_what_was_read_from_a_file_is_given_back(tmp_path: Path) -> None:
    """Of one tensor in a file of two: the other stays, and so does what isn't of a file."""

    def resident() -> int:
        [kb] = re.findall(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(kb) * 1024

    both = {"a": torch.randn(2_000, 1_000), "b": torch.randn(3_000, 1_000)}
    save_file(both, tmp_path / "weights.safetensors")
    # As files of a hub's cache, whose names don't say what they are.
    (tmp_path / "weights.safetensors").rename(tmp_path / "blob")
    with safe_open(tmp_path / "blob", framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in both}
    assert all(torch.equal(stored[name], both[name]) for name in both)
    before = resident()
    forget(stored["b"], mapped_files())
    assert before - resident() == pytest.approx(both["b"].nbytes, abs=1_000_000)
    forget(both["b"], mapped_files())
    forget(both["b"][:, :7], mapped_files())
    assert all(torch.equal(stored[name], both[name]) for name in both)


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_what_is_not_replaced_is_copied(dtype: torch.dtype | None) -> None:
    model = nn.Module()
    numbers = torch.randn(5, 3, 2, dtype=torch.bfloat16)
    for name, given in (
        ("whole", numbers), ("turned", numbers.transpose(0, 2)), ("one", numbers[0, 0, 0]),
        ("none", numbers[:0]),
    ):  # fmt: skip
        model.register_parameter(name, nn.Parameter(given))
    expected = {name: each.clone() for name, each in model.named_parameters()}
    with mock.patch.object(replacing, "_BLOCK_BYTES", 2 * 3 * 2 * 2):  # two of five rows
        replacing._copy_others(model, dtype)
    numbers.zero_()
    for name, each in model.named_parameters():
        assert each.dtype == (dtype or torch.bfloat16)
        assert torch.equal(each.to(torch.bfloat16), expected[name])
