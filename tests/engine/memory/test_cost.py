"""What an answer would cost, against the paper's figures, a model that is loaded, and by hand."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dycoke_cli import version
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.compression.methods.fastv import FastV
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial
from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import cost_model, flops
from dycoke_cli.engine.memory.cost import Cost, clip_tokens, config_of, estimate_cost
from dycoke_cli.engine.memory.cost_model import CostModel, EstimatedContext
from dycoke_cli.engine.memory.flops import expected_flops, prefill_flops
from dycoke_cli.engine.settling import settled
from dycoke_cli.kernels import linear
from dycoke_cli.models import devices, resolve
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, ClipTokens, ModelRef, find
from dycoke_cli.models.devices import Target
from dycoke_cli.models.families import FAMILIES, UNLISTED, ModelInfo
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.stock_processor import ShownFrames
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.models.resolve import resolve_model
from tests.cli.harness import CLIP as VIDEO
from tests.cli.harness import run_light
from tests.families.stock import one_of_each_kind
from tests.families.tiny import make

CLIP = ClipTokens(32, 196)
HERE = Target("cpu", 24 * 10**9)
RATE = 1e10
# Hidden size, MLP width and layers of Qwen2, as its makers published them.
QWEN2 = {
    "llava-onevision-0.5b": (896, 4864, 24),
    "llava-onevision-7b": (3584, 18944, 28),
    "llava-onevision-72b": (8192, 29568, 80),
}


BUILT: dict[Any, Any] = {}


def built_once(
    source: ModelRef, config: Any, dtype: Any, build: Any = resolve.without_weights
) -> Any:
    key = config.to_json_string(), dtype
    if key not in BUILT:
        BUILT[key] = build(source, config, dtype)
    return BUILT[key]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, shared_cache: Path
) -> None:
    """What is known of a model is found out once, but where a test has a folder of its own.

    Its class is built once for all of them. Nothing is timed but where a test does.
    """
    monkeypatch.setattr(resolve, "without_weights", built_once)
    alone = "tmp_path" in request.fixturenames
    cache = request.getfixturevalue("tmp_path") if alone else shared_cache
    monkeypatch.setenv("DYCOKE_CACHE", str(cache))
    monkeypatch.setattr("dycoke_cli.engine.memory.cost.is_overloaded", lambda: False)
    rates = {"prefill": RATE, "decode": RATE / 8}
    monkeypatch.setattr(cost_model, "product_rate", lambda dtype, device, stage: rates[stage])


def test_changed_code_of_the_same_release_shares_no_cached_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor does a file whose time is what it was, as after the clock was set back."""
    users = cost_model, vision
    text = SimpleNamespace(to_json_string=lambda: "")
    model = SimpleNamespace(config=text, video_processor=text, chat_template="", values={})
    assert {user._PROGRAM for user in users} == {version.program_key()}
    monkeypatch.setattr(version, "_HERE", tmp_path)
    found = []
    for content in "aab":
        (tmp_path / "one.py").write_text(content)
        os.utime(tmp_path / "one.py", (1000, 1000))
        for user in users:
            monkeypatch.setattr(user, "_PROGRAM", version.program_key.__wrapped__())
        facts = cost_model._file(cast("Any", model), LoadOptions(), "cpu")
        found.append({facts, vision.key_of({}, {})})
    assert found[0] == found[1]
    assert not found[1] & found[2]


def cost(
    model: str | ModelRef,
    method: Method | None = None,
    target: Target = HERE,
    clip: ClipTokens = CLIP,
    *,
    most: int = 128,
    frame_bytes: int = 0,
    question: str | None = None,
    questions: int = 1,
    **loading: str,
) -> Cost:
    source, options = find(model) if isinstance(model, str) else model, LoadOptions(**loading)  # type: ignore[arg-type]
    of_answer = (source, clip, method or DyCoke(), options, most, target)
    asked = {"question": question, "questions": questions, "frame_bytes": frame_bytes}
    return estimate_cost(*of_answer, **asked)  # type: ignore[arg-type]


def test_several_questions_keep_the_keys_and_values_of_the_prompt() -> None:
    clip = ClipTokens(512, 196)  # of fewer frames, an answer on a CPU takes less than loading
    for method, copies in ((BASELINE, 1), (FastV(), 0)):  # which prunes between layers
        one, three = (
            cost("llava-onevision-7b", method, clip=clip, dtype="bfloat16", questions=questions)
            for questions in (1, 3)
        )
        # 28 layers with 4 heads of 128 for keys and for values, in 16 bits.
        prompt = 57_344 * (one.tokens.visual_kept + one.tokens.text)
        assert three.bytes.peak - one.bytes.peak == copies * prompt
        assert three.bytes.kv_cache == one.bytes.kv_cache


@pytest.mark.parametrize(
    ("has", "free", "given", "dtype"),
    [
        (["avx2"], 48, {}, "float32"),
        (["avx2"], 24, {}, "bfloat16"),
        (["avx2"], 48, {"dtype": "bfloat16"}, "bfloat16"),
        (["avx2"], 24, {"quantize": "int8"}, "int8"),
        (["avx2", "avx512_bf16"], 48, {}, "bfloat16"),
    ],
)
@pytest.mark.usefixtures("tmp_path")
def test_the_dtype_is_that_of_loading(
    has: list[str],
    free: int,
    given: dict[str, str],
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "instructions", lambda: has)
    monkeypatch.setattr(resolve, "free_main_memory", lambda: free * 10**9)
    found = cost("llava-onevision-7b", target=Target("cpu", free * 10**9), **given)
    assert found.dtype == dtype
    options = LoadOptions(device="cpu", random_weights=True, **given)  # type: ignore[arg-type]
    loaded = resolve_model("llava-onevision-7b", options).describe()["dtype"]
    assert dtype == loaded.partition("/")[0]


def test_flops_of_the_paper() -> None:
    """40.8 → 17.4 T (Table 1); the paper counts 58.8 tokens of a compared frame, and 58 stay."""
    sizes = {"layers": 28, "hidden": 3584, "mlp": 18944}
    method = settled(DyCoke(), config_of(find("llava-onevision-7b"), None))
    found, whole = (
        expected_flops(one, CLIP, text=0, generated=128, **sizes) for one in (method, BASELINE)
    )
    assert whole.prefill / 1e12 == pytest.approx(40.77, abs=0.01)
    papers = prefill_flops([2979.2] * 28, hidden=3584, mlp=18944)  # type: ignore[list-item]
    assert papers / 1e12 == pytest.approx(17.39, abs=0.01)
    assert found.prefill / papers == pytest.approx(2960 / 2979.2, abs=0.002)


def test_a_prompt_that_is_read_twice() -> None:
    """First all of it, in one piece; then what the method keeps."""
    clip, name = ClipTokens(150, 196), "llava-onevision-0.5b"
    equal, asked, more, whole = (
        cost(name, method, clip=clip, dtype="float32")
        for method in (
            UniformSpatial(retain=0.1),
            UniformSpatial(retain=0.1, frames_by="question"),
            UniformSpatial(retain=0.5, frames_by="question"),
            Method(),
        )
    )
    assert asked.tokens == equal.tokens
    assert asked.bytes.kv_cache == equal.bytes.kv_cache
    assert asked.context.needed == whole.context.needed > equal.context.needed
    assert asked.flops.prefill == equal.flops.prefill + whole.flops.prefill
    # Other prompts are read in pieces; what this one takes doesn't depend on what is kept.
    assert asked.bytes.peak - asked.bytes.kv_cache > whole.bytes.peak - whole.bytes.kv_cache
    assert more.bytes.peak - more.bytes.kv_cache == asked.bytes.peak - asked.bytes.kv_cache


@pytest.mark.parametrize("name", one_of_each_kind(QWEN2, [*QWEN2][:2]))
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
    assert found.flops.prefill_uncompressed == pytest.approx(prefill(6272 + 64))
    assert found.flops.prefill == pytest.approx(prefill(kept + 64))
    assert found.flops.decode_uncompressed == pytest.approx(decode([6272 + 64] * layers))
    behind = [active + 64] * (layers - 3)
    assert found.flops.decode == pytest.approx(decode([kept + 64] * 3 + behind))
    read = (3 * kept + (layers - 3) * active) / layers
    assert found.tokens.visual_read_per_step == pytest.approx(read)


def test_a_choice_inside_holds_for_the_prompt() -> None:
    found = cost("llava-onevision-7b", FastV(prune_ratio=0.5, prune_layer=2))
    by_layer = [6272 + 64] * 2 + [3136 + 64] * 26
    assert found.flops.prefill == pytest.approx(prefill_flops(by_layer, hidden=3584, mlp=18944))
    assert found.tokens.visual_kept == 6272
    # By hand: 57,344 bytes of keys and values for a token in all 28 layers, in each a 28th of it.
    spare = found.bytes.kv_cache_uncompressed // 57_344 - (6272 + 64)
    assert found.bytes.kv_cache == 57_344 // 28 * (sum(by_layer) + 28 * spare)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.usefixtures("tmp_path")
def test_kv_cache_and_weights_by_hand(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that packs weights, and on one that doesn't."""
    monkeypatch.setattr(linear, "can_pack", lambda: packs)
    found = cost("llava-onevision-7b", dtype="bfloat16").bytes
    # Four KV heads of 128 numbers, keys and values, in two bytes, in 28 layers.
    entry = 2 * 4 * 128 * 2 * 28
    assert found.kv_cache_uncompressed == entry * (6272 + 64 + 128)
    assert found.kv_cache == entry * (2960 + 64 + 128)
    assert found.weights == pytest.approx(2 * 8_030_807_584, rel=1e-6)
    # The output layer is packed last, beside the weights that it is made of.
    output = 2 * 152_000 * 3584 if packs else 0
    assert found.loading == pytest.approx(found.weights + output, rel=1e-3)
    full = cost("llava-onevision-7b", dtype="float32").bytes
    assert full.weights == full.loading == pytest.approx(2 * found.weights, rel=1e-6)


# Linear layers of Qwen2 7B's decoder; bitsandbytes leaves embeddings, norms, the output layer, the
# projector and the vision tower as they are, in the dtype of the weights.
DECODER_7B = 28 * (2 * 3584**2 + 2 * 512 * 3584 + 3 * 18944 * 3584)
ROWS_7B = 28 * (2 * 3584 + 2 * 512 + 2 * 18944 + 3584)


def test_weights_that_bitsandbytes_quantizes() -> None:
    whole = 2 * (8_030_807_584 - DECODER_7B)
    gpu = Target("cuda", 24 * 10**9)
    int8 = cost("llava-onevision-7b", target=gpu, quantize="int8").bytes.weights
    assert int8 == pytest.approx(DECODER_7B + 4 * ROWS_7B + whole, rel=1e-4)
    int4 = cost("llava-onevision-7b", target=gpu, quantize="int4").bytes.weights
    assert int4 == pytest.approx(DECODER_7B * 4.127 / 8 + whole, rel=1e-3)
    assert int4 == pytest.approx(6.3e9, rel=0.02)
    # The same on a CPU, where 8 bits are our own.
    on_cpu = cost("llava-onevision-7b", quantize="int4").bytes.weights
    assert on_cpu == pytest.approx(DECODER_7B * 4.25 / 8 + whole, rel=1e-3)


@pytest.mark.parametrize(
    ("target", "fits"),
    [
        (Target("cpu", 24 * 10**9), "ram"),
        (Target("cuda", 80 * 10**9, 24 * 10**9), "gpu"),
        (Target("cuda", 8 * 10**9, 24 * 10**9), "ram"),
        (Target("cuda", 8 * 10**9), "no"),
        (Target("mps", 24 * 10**9), "gpu"),
        (Target("cpu", None), None),
    ],
)
def test_where_it_fits(target: Target, fits: str | None) -> None:
    assert cost("llava-onevision-7b", target=target, dtype="bfloat16").fits == fits


def test_what_would_fit_does_and_a_bit_more_does_not() -> None:
    """By asking again with each flag that is named."""
    small = Target("cuda", 26 * 10**9)
    clip = ClipTokens(1000, 196)
    plenty = cost("qwen2-vl-7b", EVS(retain=0.9), small, clip)
    assert (plenty.fits, plenty.context.fits) == ("no", False)
    (frames, *_), (flag, retain, *_) = (way.split() for way in plenty.would_fit)
    assert flag == "--retain"

    def fit(frames: int, retain: float) -> bool:
        found = cost("qwen2-vl-7b", EVS(retain=retain), small, ClipTokens(frames, 196))
        return found.fits == "gpu" and found.context.fits

    assert fit(int(frames), 0.9)
    assert not fit(int(frames) + 1, 0.9)
    assert fit(1000, float(retain))
    assert not fit(1000, float(retain) + 0.001)


def test_smaller_weights_that_would_fit() -> None:
    tight = cost("qwen2.5-vl-7b", target=Target("cuda", 13 * 10**9))
    assert tight.fits == "no"
    assert tight.would_fit == ("--quantize int8",)
    assert cost("qwen2.5-vl-7b", target=Target("cuda", 13 * 10**9), quantize="int8").fits == "gpu"
    full = cost("llava-onevision-0.5b", target=Target("cpu", 4 * 10**9), dtype="float32")
    assert full.would_fit[0] == "--dtype bfloat16"


def test_an_hour_is_longer_than_the_context() -> None:
    hour = ClipTokens(3600, 196)
    found = cost("llava-onevision-7b", Method(), Target("cuda", 10**12), hour)
    assert found.context == EstimatedContext(32768, 3600 * 196 + 64 + 128, fits=False)
    assert found.fits == "gpu"
    assert found.would_fit == (f"{(32768 - 192) // 196} frames or fewer",)
    fiftieth = cost("llava-onevision-7b", EVS(retain=0.02), Target("cuda", 10**12), hour)
    assert fiftieth.context.fits
    assert fiftieth.warnings == ()
    kept = EVS(retain=0.02, positions="kept")
    beyond = cost("llava-onevision-7b", kept, Target("cuda", 10**12), hour)
    assert [one.split(",")[0] for one in beyond.warnings] == [
        f"positions run up to {3600 * 196 + 64 + 128 - 2}"
    ]


def test_seconds_by_hand() -> None:
    """The clip is encoded once, whatever the number of questions; each step reads all weights."""
    name, tower = "llava-onevision-0.5b", 26 * (384 // 14) ** 2
    patches = (384 // 14) ** 2
    frame = tower * (4 * 1152**2 + 2 * patches * 1152 + 2 * 1152 * 4304)
    # Layers with 2 heads of 64 for keys and for values, and gated MLPs; 152,000 words.
    weights = 24 * (2 * 896**2 + 2 * 128 * 896 + 3 * 896 * 4864) + 152_000 * 896
    for questions in (1, 3):
        found = cost(name, questions=questions)
        tokens = found.tokens.text + found.tokens.visual_read_per_step
        step = weights + 24 * 2 * 128 * tokens
        prefill, decode = questions * found.flops.prefill / RATE, questions * 128 * step / RATE * 8
        assert found.seconds == pytest.approx(32 * frame / RATE + prefill + decode)


def test_seconds_of_a_busy_machine_say_so_where_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How much a tower that merges computes depends on the video."""
    assert cost("llava-onevision-0.5b", DyCoke(merge_stage="vision")).seconds is None
    monkeypatch.setattr("dycoke_cli.engine.memory.cost.is_overloaded", lambda: True)
    assert cost("llava-onevision-0.5b").warnings == (flops.BUSY,)
    monkeypatch.setattr(cost_model, "product_rate", lambda *_: None)
    unknown = cost("llava-onevision-0.5b")
    assert (unknown.seconds, unknown.warnings) == (None, ())


@pytest.mark.parametrize(
    ("loading", "dtype"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"dtype": "bfloat16", "quantize": "int8"}, "int8"),
        ({"dtype": "bfloat16", "quantize": "int4"}, "bfloat16"),
    ],
)
def test_the_product_has_the_dtype_that_is_computed_in(
    loading: dict[str, str], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(cost_model, "product_rate", lambda *given: asked.append(given))
    cost("mini", **loading)
    assert asked == [(dtype, "cpu", stage) for stage in ("prefill", "decode")]


@pytest.mark.slow
@pytest.mark.usefixtures("tmp_path")
def test_the_next_estimate_imports_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_model, "product_rate", flops.product_rate)
    monkeypatch.setattr(flops, "is_overloaded", lambda: False)
    monkeypatch.setattr(flops, "TIMED_S", 0.01)
    first = cost("mini")
    assert first.seconds is not None
    monkeypatch.setattr(cost_model, "_made", lambda *_: pytest.fail("made anew"))
    assert cost("mini") == first
    words = ["ask", VIDEO, "--estimate", "--device", "cpu"]
    run = run_light(words, heavy=("torch", "transformers"))
    assert run.code == 0, run.err


def test_it_is_what_an_answer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.video.decoder import read
    from dycoke_cli.video.sampling import Sampling
    from tests.families.sessions import bundled

    clip = read(Path(__file__).parents[3] / "sample_videos" / "move.mp4", Sampling(frames=8))
    answer = VideoSession(bundled(), clip).ask("What does the blue star do?", DyCoke())
    height, width = clip.frames.shape[1:3]
    tokens = clip_tokens(find("mini"), 8, height, width)
    found = cost("mini", clip=tokens, device="cpu", dtype="float32")
    for name in ("visual", "visual_kept", "visual_read_per_step"):
        assert getattr(found.tokens, name) == pytest.approx(getattr(answer.tokens, name)), name
    assert (found.method, found.dtype) == (answer.method, answer.model.dtype)
    assert found.device == answer.model.device
    entry = 2 * 4 * 64 * 4 * 10  # keys and values of four heads, in ten layers
    prompt = answer.tokens.visual_kept + answer.tokens.text
    assert answer.bytes.kv_cache >= prompt * entry
    assert found.bytes.kv_cache == (answer.tokens.visual_kept + 64 + 128) * entry
    assert found.bytes.weights == answer.bytes.weights
    # With as much text, the figures of the answer mean the same.
    monkeypatch.setattr(cost_model, "text_tokens", lambda question: answer.tokens.text)
    steps = answer.tokens.generated
    same = cost("mini", clip=tokens, most=steps, device="cpu", dtype="float32")
    assert same.tokens.text == answer.tokens.text
    assert same.flops.prefill == pytest.approx(answer.flops.prefill)
    assert same.flops.decode == pytest.approx(answer.flops.decode)
    whole = same.flops.prefill_uncompressed + same.flops.decode_uncompressed
    assert whole == pytest.approx(answer.flops.uncompressed)


def test_a_longer_question_has_more_tokens() -> None:
    for question in ("What does the blue star do?", "Where? " * 2000, "\u4ec0\u4e48\uff1f" * 99):
        found = cost("mini", question=question)
        assert found.tokens.text == 32 + math.ceil(len(question.encode()) / 3)
        assert found.context.needed == found.tokens.visual_kept + found.tokens.text + 128
    assert not found.context.fits


def folder_of(path: Path, model_type: str) -> ModelRef:
    """A model whose file names its class and its layers alone."""
    layers = {"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 3}}
    (path / "config.json").write_text(json.dumps({"model_type": model_type, **layers}))
    (path / "model.safetensors").write_bytes(b"")
    return ModelRef("mine", str(path), None, local=True)


def test_what_a_configuration_leaves_out_is_that_of_its_class(tmp_path: Path) -> None:
    assert cost(folder_of(tmp_path, "llava_onevision")).bytes.weights > 10**9


def test_a_model_that_no_catalog_has_asks_its_processor() -> None:
    folder = ModelRef("mine", str(BUNDLED_CHECKPOINT), None, local=True)
    asked = clip_tokens(folder, 5, 72, 128)
    assert replace(asked, text=0) == clip_tokens(find("mini"), 5, 72, 128)


def test_what_a_prompt_says_of_its_frames_is_counted(tmp_path: Path) -> None:
    """SmolVLM's introduction, times and marks: by the ids of the prompt, less those without it."""
    model, processor = make("smolvlm")
    processor.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    folder = ModelRef("mine", str(tmp_path), None, local=True)
    shown = ShownFrames.blank(8, 48, 48)
    prompt = make_prompt(processor, FAMILIES["smolvlm"], model.config, shown)
    ids = processor.tokenizer(prompt.expanded)["input_ids"]
    text = sum(token != model.config.image_token_id for token in ids)
    tokens = clip_tokens(folder, 8, 48, 48)
    assert (tokens.frames, tokens.visual) == (8, len(ids) - text)
    # The template may write a space or a line break less where there is no video.
    assert 8 * 5 < text - 2 <= tokens.text <= text + 2
    found = cost(folder, BASELINE, clip=tokens)
    plain = cost(folder, BASELINE, clip=replace(tokens, text=0))
    assert found.tokens.text == 64 + tokens.text
    prompt_tokens = tokens.visual + 64 + 128
    per_token = plain.bytes.kv_cache / prompt_tokens
    assert found.bytes.kv_cache == per_token * (prompt_tokens + tokens.text)
    assert found.context.needed == prompt_tokens + tokens.text


def test_a_clip_of_fewer_frames_has_less_text() -> None:
    clip = ClipTokens(8, 4, 81)
    assert clip.of_frames(4) == ClipTokens(4, 4, 41)
    # The context is full of 100 tokens of each frame, 10 of which are text.
    hour = ClipTokens(3600, 90, 36_000)
    found = cost("llava-onevision-7b", Method(), Target("cuda", 10**12), hour)
    assert found.context.needed == 3600 * 100 + 64 + 128
    assert found.would_fit == (f"{(32768 - 192) // 100} frames or fewer",)


def test_a_family_that_is_not_listed_has_the_defaults_of_the_paper(tmp_path: Path) -> None:
    made = cost(folder_of(tmp_path, "llava"))
    assert (made.method["merge_ratio"], made.method["prune_layer"]) == (0.7, 3)


def test_frames_are_counted_as_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: one decoded frame more, while it is resized; of an unlisted family all of them."""

    def of_frames(*sizes: int) -> list[Cost]:
        name = "llava-onevision-0.5b"
        return [cost(name, BASELINE, dtype="float32", frame_bytes=size) for size in sizes]

    of_4k = 3840 * 2160 * 3
    # As large as what the model reads: 27 × 27 patches of 14 × 14 pixels.
    large, read = of_frames(of_4k, 27 * 27 * 14 * 14 * 3)
    assert large.warnings == read.warnings == ()
    assert large.bytes.peak - read.bytes.peak == of_4k
    monkeypatch.setitem(FAMILIES, "llava_onevision", UNLISTED)
    found, less = of_frames(of_4k, of_4k // 2)
    assert [one for one in found.warnings if "kept at the size of the video" in one]
    assert found.bytes.peak - less.bytes.peak >= 32 * of_4k // 2


@pytest.mark.parametrize(("family", "pieces"), [("llava_onevision", 7), ("qwen3_5", 1)])
def test_a_model_that_isnt_prefilled_in_chunks_is_estimated_so(
    family: str, pieces: int, tmp_path: Path
) -> None:
    """Its MLPs have the whole prompt at a time; of 6,272 tokens others have a seventh."""
    config, _ = make(family)
    config = config.config
    stored, source = ModelInfo.of(config.to_dict()), ModelRef("tiny", str(tmp_path), None, True)
    loading = LoadOptions("cpu", "float32")
    model = CostModel(source, stored, BASELINE, loading, 128, HERE, 0)
    length = CLIP.visual + model.text(CLIP)
    assert math.ceil(length / model.work(BASELINE, CLIP, CLIP.visual).chunk_len) == pieces
