"""What memory an answer will take, against numbers worked out by hand and against what is held."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dycoke_cli import DyCoke, EarlyTom, Uncompressed, VideoSession
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.memory.cost_model import CUDA_CONTEXT, ExpectedBytes, Work, expected_bytes
from dycoke_cli.engine.memory.sizes import Sizes, VisionSizes
from dycoke_cli.engine.prefill import prefills_whole
from dycoke_cli.models.catalog import ClipTokens
from tests.families.sessions import loaded_of
from tests.families.stock import QUESTION, clip, one_of_each_kind
from tests.families.tiny import MAKERS

# LLaVA-OneVision 7B in bfloat16: 4 KV heads of 128; SigLIP.
LLAVA_7B = Sizes(
    layers=28,
    hidden=3584,
    mlp=18944,
    kv=28 * 2 * 4 * 128,
    vocabulary=152128,
    context=32768,
    vision=VisionSizes(
        layers=26,
        hidden=1152,
        mlp=4304,
        patch=3 * 14 * 14,
        frame_patches=27 * 27,
        merged=4,
    ),
)


def bytes_of(work, sizes=LLAVA_7B):
    return ExpectedBytes.of(sizes, work, weights=16_062_000_000, dtype_bytes=2)


def work(frames, kept, **changes):
    read = kept + 21
    return Work(**{"visual": frames * 196, "held": kept, "text": 21, "chunk_len": read, "spare": 0,
                   "patches": 6019, **changes})  # fmt: skip


def test_a_row_of_keys_and_values_of_the_7b_takes_57344_bytes():
    assert bytes_of(work(32, 6272)).kv == 57_344 * 6293
    assert bytes_of(work(32, 6272, spare=128)).kv == 57_344 * (6293 + 128)


def test_32_frames_in_the_7b_by_hand():
    found = bytes_of(work(32, 6272))
    features = 6272 * 3584 * 2  # 45 MB
    prompt = 6293 * 3584 * 2
    mlp = 3 * 6293 * 18944 * 2  # 715 MB
    rows = 3 * 6293 * 3584 * 2  # 135 MB
    assert found.prefill == features + prompt + mlp + rows + 57_344 * 6293 + 12 * 152128
    assert found.working == found.prefill == pytest.approx(1.30e9, rel=0.01)
    # Pixels are float32, whatever the dtype of the weights.
    assert found.vision == features + 6019 * (588 * 4 + (3 * 1152 + 2 * 4304) * 2)
    assert found.total(CUDA_CONTEXT) == pytest.approx(18.8e9, rel=0.005)


def test_what_deepstack_adds_is_as_many_rows_again():
    one, four = (
        bytes_of(work(32, 6272), replace(LLAVA_7B, vision=replace(LLAVA_7B.vision, stacked=n)))
        for n in (0, 3)
    )
    assert four.vision - one.vision == 3 * 6272 * 3584 * 2


def patches_together(method, vision, frames, per_frame, *, on_cpu):
    sizes, clip = replace(LLAVA_7B, vision=vision), ClipTokens(frames, per_frame)
    more = {"spare": 0, "own_attention": False, "whole": False}
    return Work.of(method, sizes, clip, clip.visual, 21, on_cpu=on_cpu, **more).patches


def test_methods_that_look_at_several_frames_in_the_tower_encode_them_together():
    siglip = SimpleNamespace(patch_size=14, image_size=384)
    one = (384 // 14) ** 2
    vision = DyCoke(merge_stage="vision")
    bound = vision
    for each, frames, together in (
        (Uncompressed(), 64, 1), (DyCoke(), 64, 1), (vision, 64, 4), (vision, 2, 2),
        (EarlyTom(), 64, 32), (EarlyTom(), 9, 9),
    ):  # fmt: skip
        method = each
        patches = patches_together(method, VisionSizes.of(siglip), frames, 196, on_cpu=True)
        assert patches == max(384 * 384 // 14**2, together * one)
    # An accelerator without FlashAttention has eight at a time.
    for frames, together in ((5, 5), (9, 9), (64, 32)):
        method = EarlyTom()
        found = patches_together(method, VisionSizes.of(siglip), frames, 196, on_cpu=False)
        assert found == together * one
    oblong = SimpleNamespace(patch_size=[14, 28], image_size=[28, 56])
    assert patches_together(EarlyTom(), VisionSizes.of(oblong), 9, 4, on_cpu=True) >= 9 * 4
    # Frames of any size, in squares of four patches.
    for qwen in (SimpleNamespace(patch_size=14, spatial_merge_size=2, image_size=336),
                 SimpleNamespace(patch_size=14)):  # fmt: skip
        assert patches_together(bound, VisionSizes.of(qwen), 64, 900, on_cpu=True) == 4 * 900 * 4


@pytest.mark.parametrize(
    ("family", "whole"),
    [("llava_onevision", False), ("molmo2", True), ("qwen3_5", True)],  # frames that see each
)  # other in a mask of its own, and layers that don't keep every token
def test_so_many_tokens_pass_a_layer_as_are_counted(family, whole, monkeypatch):
    monkeypatch.setattr(flops, "LONGEST_WHOLE", 32)
    monkeypatch.setattr(flops, "CHUNK", 16)
    loaded, lengths = loaded_of(family), []
    session, decoder = VideoSession(loaded, clip(16), reuse=False), loaded.model.get_decoder()
    hook = decoder.layers[0].register_forward_pre_hook(
        lambda _, args, given: lengths.append((args or [given["hidden_states"]])[0].shape[1]),
        with_kwargs=True,
    )
    answer = session.ask(QUESTION, Uncompressed(), max_tokens=1)
    hook.remove()
    tokens, sizes = session.video.tokens, Sizes.of(loaded.model.config)
    more = {"spare": 0, "on_cpu": True, "own_attention": False}
    more["whole"] = prefills_whole(loaded.model)
    work = Work.of(BASELINE, sizes, tokens, tokens.visual, answer.tokens.text, **more)
    assert max(lengths) == work.chunk_len
    assert (work.chunk_len > 16) == whole == prefills_whole(loaded.model)


@pytest.mark.parametrize(
    ("family", "per_frame"), [("llava_onevision", 4), ("qwen3_vl", 4), ("molmo2", 4)]
)
@pytest.mark.parametrize("method", [Uncompressed(), DyCoke(prune_layer=2, positions="kept")])
def test_keys_and_values_are_those_that_a_store_holds(family, per_frame, method):
    loaded = loaded_of(family)
    session = VideoSession(loaded, clip(32))
    answer = session.ask(QUESTION, method, max_tokens=6)
    found = expected_bytes(loaded, session.video, method, answer.tokens.text)
    held = answer.bytes.kv_cache
    if method.name == "none":  # the stock cache, of stock kernels, has no spare rows
        held += (128 - 5) * Sizes.of(loaded.model.config).kv * 8
    assert found.kv == pytest.approx(held, rel=0.05)
    assert found.weights == loaded.weights_bytes


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_every_family_is_asked_where_free_memory_is_known(family):
    session = VideoSession(replace(loaded_of(family), free_bytes=1), clip(4))
    assert session.memory_warning(QUESTION, BASELINE).startswith("this may not fit")


def test_a_warning_where_it_will_hardly_fit():
    roomy = replace(loaded_of("llava_onevision"), free_bytes=10**9)
    assert VideoSession(roomy, clip(5)).memory_warning(QUESTION, DyCoke()) is None
    tight = VideoSession(replace(roomy, free_bytes=roomy.weights_bytes + 1000), clip(5))
    method = DyCoke(prune_layer=2)
    warning = tight.memory_warning(QUESTION, method)
    assert warning.startswith("this may not fit: it needs about 0.0 GB, 0.0 GB free on cpu; use")
    assert warning in tight.ask(QUESTION, method, max_tokens=2).warnings


@pytest.mark.parametrize(("family", "can"), [("llava_onevision", True), ("molmo2", False)])
def test_what_a_session_keeps_for_the_next_question_is_counted(family, can):
    loaded = loaded_of(family)
    session, method = VideoSession(loaded, clip(32)), Uncompressed()
    text = session.ask(QUESTION, method, max_tokens=1).tokens.text
    stored = session.prefix._stored.values()
    held = sum(one.nbytes for entries in stored for pair in entries for one in pair)
    assert bool(held) == can
    given = loaded, session.video, method, text
    alone, kept = (expected_bytes(*given, copies=copies) for copies in (0, 1))
    entry = Sizes.of(loaded.model.config).kv * 8
    # The question behind the video, which isn't kept, is counted as well.
    assert held <= kept.prefill - alone.prefill <= held + text * entry * can
    # Just enough for a session that keeps nothing.
    tight = replace(loaded, free_bytes=alone.total())
    for reuse in (False, True):
        found = VideoSession(tight, clip(32), reuse=reuse).memory_warning(QUESTION, method)
        assert (found is not None) == (reuse and can)
