"""What a method would get silently wrong is refused with a sentence."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from packaging.version import Version

from dycoke_cli import EVS, DyCoke, FastV, VideoSession, load, read
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families.family import TYPES
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of
from tests.engine.tiny import SHAPES, VIDEO_TOKEN, make_inputs, make_model
from tests.families.sessions import loaded_of
from tests.families.stock import clip

SHAPE = SHAPES[0]
METHOD = DyCoke(prune_layer=2)


@pytest.fixture(scope="module")
def model():
    return make_model(SHAPE)


def refused(model, match, inputs=None, by=UsageError, **options):
    inputs = inputs or make_inputs(SHAPE, 5)
    with pytest.raises(by, match=match), METHOD(model):
        model.generate(**inputs, max_new_tokens=6, **{"do_sample": False, **options})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_beams": 2}, "beam search"),
        ({"cache_implementation": "static"}, "StaticCache"),
        ({"use_cache": False}, "without a cache"),
        ({"prefill_chunk_size": 16}, "prefill_chunk_size"),
        ({"output_attentions": True, "return_dict_in_generate": True}, "output_attentions"),
    ],
)
def test_options_of_generate(model, options, sentence):
    refused(model, sentence, **options)


def test_prompt_lookup_and_assisted_generation(model):
    lookup, assisted = {"prompt_lookup_num_tokens": 2}, {"assistant_model": make_model(SHAPE)}
    if Version(transformers.__version__) < Version("5.24"):
        refused(model, "prompt lookup", **lookup)
        refused(model, "assisted", **assisted)
        return
    # Stock asks whether the cache can be cropped, and refuses by itself.
    for options in (lookup, assisted):
        refused(model, "requires a cache that can be cropped", by=ValueError, **options)


def test_a_compiled_model_is_the_one_that_it_was_made_of(model):
    with METHOD(torch.compile(model, backend="eager")) as attached:
        model.generate(**make_inputs(SHAPE, 5), max_new_tokens=2, do_sample=False)
    assert attached.stats[0].visual_kept < attached.stats[0].visual


def test_a_second_turn_on_the_same_cache(model):
    inputs = make_inputs(SHAPE, 5)
    with METHOD(model):
        first = model.generate(
            **inputs, max_new_tokens=4, do_sample=False, return_dict_in_generate=True
        )
    longer = torch.cat([first.sequences, torch.tensor([[20, 21, 22]])], dim=1)
    second = {"input_ids": longer, "attention_mask": torch.ones_like(longer)}
    with pytest.raises(UsageError, match="second turn"), METHOD(model):
        model.generate(**second, **{CACHE_ARGUMENT: cache_of(first)}, max_new_tokens=4)


def test_sliding_windows():
    model = make_model(SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=2)
    refused(model, "sliding_attention")


def test_two_videos(model):
    inputs = make_inputs(SHAPE, 4)
    run = SHAPE.tokens_per_frame * 2
    inputs["input_ids"][0, 3 + run] = 11  # cuts the run of placeholders in two
    inputs["input_ids"][0, -1] = VIDEO_TOKEN
    refused(model, "more than one video", inputs)


def test_a_ready_made_mask_and_labels(model):
    inputs = make_inputs(SHAPE, 4)
    size = inputs["input_ids"].shape[1]
    for given, sentence in (
        ({"attention_mask": torch.zeros(1, 1, size, size)}, "ready-made attention mask"),
        ({"labels": inputs["input_ids"]}, "fewer logits than labels"),
    ):
        with pytest.raises(UsageError, match=sentence), METHOD(model):
            model(**inputs | given)


@pytest.mark.parametrize("name", ["a layer", "a loaded model", "a vision tower", "a text model"])
def test_what_is_no_model_that_answers_about_videos(model, name):
    text = transformers.Qwen2Config(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1,
    )  # fmt: skip
    other, sentence = {
        "a layer": (torch.nn.Linear(2, 2), "not to a Linear; .* give its attribute model"),
        "a loaded model": (loaded_of("llava_onevision"), "not to a LoadedModel"),
        "a vision tower": (model.model.vision_tower, "siglip_vision_model' have no layout yet"),
        "a text model": (transformers.Qwen2ForCausalLM(text), "'qwen2' have no layout yet"),
    }[name]
    with pytest.raises(UsageError, match=sentence):
        METHOD(other)


@pytest.mark.parametrize("method", [METHOD, DyCoke(kv_prune=False), EVS(retain=0.5), FastV()])
def test_its_cache_outside_the_block(model, method):
    inputs = make_inputs(SHAPE, 5)
    options = {"max_new_tokens": 3, "do_sample": False, "return_dict_in_generate": True}
    with method(model):
        output = model.generate(**inputs, **options)
    ids = torch.cat([output.sequences, output.sequences[:, -2:]], 1)
    with pytest.raises(UsageError, match="isn't attached any more; give the whole conversation"):
        model.generate(input_ids=ids, past_key_values=output.past_key_values, **options)


def test_two_methods_on_one_model(model):
    with METHOD(model), pytest.raises(UsageError, match="attached to this model already"):
        EVS()(model).__enter__()
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(5))
    with METHOD(loaded.model), pytest.raises(UsageError, match="attached to this"):
        session.ask("What is it?", EVS(), max_tokens=1)
    # Another thread, another model, and the next block.
    with METHOD(model), EVS()(make_model(SHAPE)) as other:
        with ThreadPoolExecutor() as pool:
            pool.submit(lambda: EVS()(model).__enter__().__exit__(None, None, None)).result()
        other._stats = [None]
    session.ask("What is it?", EVS(), max_tokens=1)


def test_frames_that_positions_do_not_tell_apart():
    """Without its token types Qwen-VL gives each token a time of its own: one frame of all."""
    loaded = loaded_of("qwen2_5_vl")
    processor = loaded.processor
    frames = torch.from_numpy(clip(6).frames).permute(0, 3, 1, 2)
    content = [{"type": "video"}, {"type": "text", "text": "What is it?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}])
    inputs = processor(text=[text], videos=[frames], return_tensors="pt")
    kept = {**inputs}
    kept.pop(TYPES, None)
    with (
        EVS(retain=0.5)(loaded.model),
        pytest.raises(UsageError, match="the positions of text"),
    ):
        loaded.model.generate(**kept, max_new_tokens=1)
    told = processor(text=[text], videos=[frames], return_tensors="pt", **{f"return_{TYPES}": True})
    with EVS(retain=0.5)(loaded.model) as attached:
        loaded.model.generate(**told, max_new_tokens=1)
    assert attached.stats[0].visual_kept == attached.stats[0].visual // 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda s, m: s.ask("What?", "dycoke"), "a method is an object .*, not 'dycoke'"),
        (lambda s, m: s.ask("What?", DyCoke), "a method is an object .*, not the class DyCoke"),
        (lambda s, m: VideoSession(m, s.clip), "load.. returned, not a LlavaOnevision"),
        (lambda s, m: VideoSession(s.loaded, "x.mp4"), r"as read\(PATH\) returns"),
        (lambda s, m: load(m), "load.. takes a name .*, not a LlavaOnevision"),
        (lambda s, m: read("x.mp4", 8), "such as Sampling.frames=8., not 8"),
        (lambda s, m: s.ask("What?", DyCoke(), typed=["yes"]), "typed takes .*, not a list"),
        (lambda s, m: s.ask("What?", DyCoke(), structured={}), "structured takes .*, not a dict"),
        (lambda s, m: DyCoke(m), "ttm must be true or false, not LlavaOne"),
    ],
)
def test_what_is_given_in_the_place_of_something_else(model, wrong, sentence):
    session = VideoSession(loaded_of("llava_onevision"), clip(3))
    with pytest.raises(UsageError, match=sentence):
        wrong(session, model)
