"""A session: answers are those of stock `generate()`, figures add up, nothing stays behind."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from dycoke_cli import EVS, CDPruner, DyCoke, FastV, RandomMerge, Uncompressed, VideoSession
from dycoke_cli.answer.answer import ReportedFrames
from dycoke_cli.answer.answer import ReportedSubtitles as SubtitlesRead
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.engine.generate import weights_read
from dycoke_cli.engine.generation_options import WHAT_FITS, GenerationOptions
from dycoke_cli.engine.session import ask_without_video
from dycoke_cli.errors import UsageError
from dycoke_cli.video.subtitles import Line, Subtitles
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.families.sessions import bundled, loaded_of, said_by_stock
from tests.marks import EXTENDED
from tests.natural import Pictures, pan

QUESTION = "What happens in the video?"
KEEP_ALL = DyCoke(merge_ratio=0.0, prune_ratio=0.0, prune_layer=2)


def natural(frames):
    return Pictures.of(pan(frames))


@pytest.fixture(scope="module")
def loaded():
    return loaded_of("llava_onevision")


@pytest.fixture(scope="module")
def session(loaded):
    return VideoSession(loaded, natural(12))


@pytest.mark.parametrize(
    ("method", "frames"),
    [
        (KEEP_ALL, 4),
        *(
            pytest.param(method, frames, marks=EXTENDED)
            for method, frames in product((Uncompressed(), FastV(prune_ratio=0.0)), (1, 12))
        ),
    ],
)
def test_answers_are_those_of_plain_generate(frames, method):
    """Of the bundled checkpoint."""
    loaded, clip = bundled(wide=True), natural(frames)
    answer = VideoSession(loaded, clip).ask(QUESTION, method, max_tokens=12)
    assert answer.answer == said_by_stock(loaded, [QUESTION], clip.frames, 12)


def test_the_video_is_encoded_once(loaded):
    calls = []
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    progress = []
    session = VideoSession(loaded, natural(3), lambda *stage: progress.append(stage))
    first = session.ask(QUESTION, DyCoke(prune_layer=2), max_tokens=3)
    encoded = len(calls)
    second = session.ask("What colour is it?", Uncompressed(), max_tokens=3)
    hook.remove()
    assert len(calls) == encoded >= 1
    assert first.seconds.vision > 0 == second.seconds.vision
    assert ("vision", 3, 3) in progress
    assert ("decode", 1, 3) in progress


def test_figures_add_up(loaded):
    fresh = VideoSession(loaded, natural(12), seconds_load=1.5, seconds_video_decode=2.0)
    answer = fresh.ask(QUESTION, DyCoke(prune_layer=2), max_tokens=12)
    tokens, seconds = answer.tokens, answer.seconds
    assert tokens.visual == 12 * 4
    assert tokens.visual_kept == 3 * (4 + 3 * int(0.3 * 4))
    assert tokens.visual_active_in_decode == int(tokens.visual_kept * 0.3)
    # What the cache says of the last step: the choice has as many tokens at each.
    config = loaded.model.get_decoder().config
    head = config.hidden_size // config.num_attention_heads
    row = 2 * config.num_key_value_heads * head * loaded.model.dtype.itemsize
    rows = answer.bytes.kv_active / row / config.num_hidden_layers
    text = tokens.text + answer.decode.steps
    assert tokens.visual_read_per_step == pytest.approx(rows - text)
    assert answer.decode.steps == tokens.generated - 1 == 11
    assert seconds.load == 1.5
    assert seconds.video_decode == 2.0
    assert 2.0 + seconds.vision + seconds.prefill <= seconds.first_token
    assert seconds.first_token + seconds.decode <= seconds.total
    assert answer.bytes.kv_active < answer.bytes.kv_cache
    assert answer.bytes.weights == loaded.weights_bytes
    read = answer.bytes.read_per_token - answer.bytes.kv_active
    assert read == weights_read(loaded.model) < loaded.weights_bytes
    assert answer.frames == ReportedFrames(12, tuple(i / 4 for i in range(12)))
    assert answer.flops.prefill + answer.flops.decode < answer.flops.uncompressed
    later = fresh.ask(QUESTION, DyCoke(prune_layer=2), max_tokens=2)
    assert later.seconds.video_decode == later.seconds.vision == 0


@pytest.mark.parametrize("new_tokens", [1, 6])
def test_figures_of_a_choice_inside_the_model(session, loaded, new_tokens):
    whole = session.ask(QUESTION, Uncompressed(), max_tokens=new_tokens)
    answer = session.ask(QUESTION, FastV(prune_ratio=0.75), max_tokens=new_tokens)
    config = loaded.model.get_decoder().config
    tokens = answer.tokens
    assert answer.method == {"name": "fastv", "prune_ratio": 0.75, "prune_layer": 2}
    assert (tokens.visual, tokens.visual_kept) == (12 * 4, 12 * 4)
    assert tokens.visual_active_in_decode == 12 * 4 // 4
    assert config.num_hidden_layers == 3
    assert tokens.visual_read_per_step == (2 * 48 + 12) / 3
    read = tokens.text + answer.decode.steps
    share = (2 * (48 + read) + 12 + read) / (3 * (48 + read))
    assert tokens.generated == whole.tokens.generated  # or the next line means nothing
    assert answer.bytes.kv_active == pytest.approx(whole.bytes.kv_active * share)
    assert answer.flops.prefill < whole.flops.prefill
    assert answer.flops.uncompressed == whole.flops.uncompressed


def test_a_cut_answer_says_so(session):
    answer = session.ask(QUESTION, Uncompressed(), max_tokens=1)
    assert answer.finish_reason == "length"
    assert answer.tokens.generated == 1
    assert answer.tokens_per_second is None
    assert any("cut after 1 tokens (--max-tokens)" in text for text in answer.warnings)


@pytest.mark.parametrize(
    ("method", "tokens", "warned"),
    [
        (DyCoke(prune_layer=1), 10, True),
        (DyCoke(prune_layer=1), 9, False),
        (DyCoke(prune_layer=2), 10, False),  # of the upper half
        (DyCoke(prune_layer=1, kv_prune=False), 10, False),
    ],
)
def test_one_early_layer_and_a_long_answer_are_warned_of(session, method, tokens, warned):
    told = session.ask(QUESTION, method, max_tokens=tokens).warnings
    found = [one.partition(" can lose details")[0] for one in told if "can lose details" in one]
    assert found == ["KV pruning from layer 1 of 3"] * warned


def test_sampling_can_be_repeated_by_its_seed(session):
    drawn = session.ask(QUESTION, DyCoke(prune_layer=2), temperature=3.0, max_tokens=10)
    again = session.ask(
        QUESTION, DyCoke(prune_layer=2), temperature=3.0, seed=drawn.seed, max_tokens=10
    )
    assert drawn.answer == again.answer
    assert session.ask(QUESTION, Uncompressed(), max_tokens=2).seed is None


def test_sampling_leaves_the_global_generator_alone(session):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    session.ask(QUESTION, RandomMerge(prune_layer=2), temperature=1.0, seed=1, max_tokens=3)
    assert torch.equal(torch.rand(3), expected)


def test_a_prompt_longer_than_the_context_is_refused_before_encoding(loaded, monkeypatch):
    context = 400
    monkeypatch.setattr(type(loaded), "context_length", context)
    frames = context // 4 + 1
    long = Pictures(np.zeros((frames, 8, 8, 3), np.uint8), tuple(range(frames)))
    encoded = []
    session = VideoSession(loaded, long, lambda *stage: encoded.append(stage))
    with pytest.raises(UsageError, match=r"use \d+ frames or fewer") as error:
        session.ask(QUESTION, Uncompressed(), max_tokens=128)
    assert encoded == []
    fits = int(str(error.value).split("use ")[1].split()[0])
    text = session.video.input_ids(QUESTION).shape[1] - frames * 4
    assert fits * 4 + text + 128 <= context < (fits + 1) * 4 + text + 128
    # TTM halves the prompt: what is read fits, and only positions that are kept run beyond.
    for positions, beyond in (("renumbered", []), ("kept", [context])):
        method = DyCoke(prune_layer=2, positions=positions)
        answer = session.ask(QUESTION, method, max_tokens=4)
        last = frames * 4 + text + answer.tokens.generated - 2
        told = [one for one in answer.warnings if "positions run up to" in one]
        assert told == [
            f"positions run up to {last}, and {loaded.name} was trained for {most}: its answer may "
            "be worse than with --positions renumbered, fewer frames or a part of the video "
            "(--start, --end)"
            for most in beyond
        ]


def with_subtitles(frames, *texts):
    lines = tuple(Line(0, 9, text) for text in texts)
    return replace(natural(frames), subtitles=Subtitles("talk.srt", lines))


def test_subtitles_are_counted_and_their_unknown_words_named():
    loaded = bundled()
    clip = with_subtitles(2, "Anna is the red star.", "quantum one two three four physics")
    plain = VideoSession(loaded, natural(2)).ask(QUESTION, Uncompressed(), max_tokens=2)
    answer = VideoSession(loaded, clip).ask(QUESTION, Uncompressed(), max_tokens=2)
    assert answer.subtitles == SubtitlesRead("talk.srt", 2)
    assert plain.subtitles is ABSENT
    assert answer.question == QUESTION
    ids = loaded.processor.tokenizer(clip.subtitles.text)["input_ids"]
    assert answer.tokens.text - plain.tokens.text == len(ids)
    said = (
        "2 words of the subtitles not in the model's vocabulary, read as unknown: quantum, physics"
    )
    assert said in answer.warnings
    beyond = VideoSession(loaded, clip).ask("Who directed Casablanca?", max_tokens=1)
    assert beyond.subtitles == answer.subtitles


def test_subtitles_longer_than_the_context_are_refused_before_encoding(loaded):
    encoded = []
    clip = with_subtitles(4, *["one two three four five six"] * 160)
    session = VideoSession(loaded, clip, lambda *stage: encoded.append(stage))
    says = r"4 frames and 160 lines of subtitles make a prompt longer.* or leave out --subtitles$"
    with pytest.raises(UsageError, match=says):
        session.ask(QUESTION, max_tokens=8)
    assert encoded == []


def test_warnings_of_the_clip_are_passed_on(loaded):
    clip = Pictures(np.zeros((2, 8, 8, 3), np.uint8), (0.0, 1.0), ("it ends early",))
    answer = VideoSession(loaded, clip).ask(QUESTION, Uncompressed(), max_tokens=2)
    assert "it ends early" in answer.warnings


def test_a_selection_is_made_once_for_all_questions(loaded, monkeypatch):
    """Unless it depends on the question."""
    made = []
    for kind in (EVS, CDPruner):

        def choose(self, given, stock=kind.choose):
            made.append(self.name)
            return stock(self, given)

        monkeypatch.setattr(kind, "choose", choose)
    session = VideoSession(loaded, natural(5))
    for question in (QUESTION, "How many objects are there?", QUESTION):
        session.ask(question, EVS(retain=0.5), max_tokens=2)
        session.ask(question, CDPruner(retain=0.5), max_tokens=2)
    session.ask(QUESTION, EVS(retain=0.7), max_tokens=2)
    assert made.count("evs") == 2
    assert made.count("cdpruner") == 3


def test_an_end_token_at_the_limit_of_length_ends_the_answer():
    """As many tokens as are allowed, and the last of them says that there are no more."""
    session = VideoSession(bundled(), natural(2))
    whole = session.ask(QUESTION, Uncompressed(), max_tokens=128)
    assert whole.finish_reason == "stop"
    exact = session.ask(QUESTION, Uncompressed(), max_tokens=whole.tokens.generated)
    assert (exact.answer, exact.finish_reason) == (whole.answer, "stop")
    cut = session.ask(QUESTION, Uncompressed(), max_tokens=whole.tokens.generated - 1)
    assert cut.finish_reason == "length"
    assert not [warning for warning in exact.warnings if "--max-tokens" in warning]
    assert [warning for warning in cut.warnings if "--max-tokens" in warning]


SHAPE = SHAPES[0]
METHODS = [
    None,
    DyCoke(merge_ratio=0.7, prune_ratio=0.7, prune_layer=2),
    DyCoke(merge_ratio=0.3, prune_ratio=0.5, prune_layer=3, positions="kept"),
    RandomMerge(merge_ratio=0.7, kv_prune=False),
    FastV(prune_ratio=0.5, prune_layer=2),
    FastV(prune_ratio=0.8, prune_layer=3),
]
NEW_TOKENS = 4


def answer(model, method, inputs):
    if method is None:
        return model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    with method(model):
        return model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


@pytest.fixture(scope="module")
def model():
    return make_model(SHAPE)


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(SHAPE, frames=9)


@pytest.fixture(scope="module")
def alone(inputs):
    """Each method's answer on a model of its own: no two are equal, or no test below could fail."""
    made = [answer(make_model(SHAPE), method, inputs) for method in METHODS]
    assert len({tuple(tokens[0].tolist()) for tokens in made}) == len(METHODS)
    return made


def test_one_after_the_other(model, inputs, alone):
    for turn in (0, 1, 2, 3, 4, 1, 5, 0):
        assert torch.equal(answer(model, METHODS[turn], inputs), alone[turn])


def test_nested_attachments_of_two_models(inputs, alone):
    first, second = make_model(SHAPE), make_model(SHAPE)
    with METHODS[1](first), METHODS[2](second):
        assert torch.equal(answer(first, None, inputs), alone[1])
        assert torch.equal(answer(second, None, inputs), alone[2])


def test_the_model_is_bit_for_bit_as_before(inputs):
    model = make_model(SHAPE)
    answer(model, None, inputs)  # a plain generate() may leave something of its own
    before = fingerprint(model)
    for method in METHODS[1:]:
        answer(model, method, inputs)
        with pytest.raises(RuntimeError, match="in the block"), method(model):
            raise RuntimeError("in the block")
    assert fingerprint(model) == before


def fingerprint(model):
    tensors = [(name, tensor.numpy().tobytes()) for name, tensor in model.state_dict().items()]
    modules = [
        (name, type(module), sorted(map(str, vars(module))), count_hooks(module))
        for name, module in model.named_modules()
    ]
    configs = [
        model.config.to_json_string(),
        model.config._attn_implementation,
        model.get_decoder().config._attn_implementation,
        model.generation_config.to_json_string(),
    ]
    return tensors, modules, configs


def count_hooks(module):
    return {key: len(value) for key, value in vars(module).items() if key.endswith("_hooks")}


def test_another_thread_in_the_middle_of_a_forward(inputs, alone):
    # The embedding runs between the two hooks: there another thread answers a question of its own.
    model = make_model(SHAPE)
    embedding = model.get_input_embeddings()
    result = []

    def meanwhile(*_):
        hook.remove()
        thread = threading.Thread(target=lambda: result.append(answer(model, None, inputs)))
        thread.start()
        thread.join()

    with METHODS[1](model):
        hook = embedding.register_forward_hook(meanwhile)
        compressed = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert torch.equal(result[0], alone[0])
    assert torch.equal(compressed, alone[1])


def test_a_block_in_which_nothing_was_compressed_warns(model, inputs):
    def compress_in_another_thread():
        with METHODS[1](model):
            thread = threading.Thread(target=answer, args=(model, None, inputs))
            thread.start()
            thread.join()

    with pytest.warns(UserWarning, match="'dycoke' was attached, but no generate"):
        compress_in_another_thread()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(model, METHODS[1], inputs)


def test_a_prompt_without_a_video_runs_plain(model):
    text = {"input_ids": torch.tensor([[11, 12, 13, 14]])}
    plain = model.generate(**text, max_new_tokens=8, do_sample=False)
    with pytest.warns(UserWarning, match="no generate"), METHODS[1](model):
        attached = model.generate(**text, max_new_tokens=8, do_sample=False)
    assert torch.equal(plain, attached)


@pytest.mark.parametrize("method", [Uncompressed(), DyCoke(kv_prune=False)])
def test_an_answer_as_long_as_there_is_room_for_fills_the_context(loaded, monkeypatch, method):
    """What is read and what is generated are together as long as the context."""
    session = VideoSession(loaded, natural(4))
    short = session.ask(QUESTION, method, max_tokens=1).tokens
    context = short.visual_kept + short.text + 12
    monkeypatch.setattr(type(loaded), "context_length", context)
    answer = session.ask(QUESTION, method, max_tokens=WHAT_FITS)
    assert (answer.finish_reason, answer.tokens.generated) == ("length", 12)
    beside = session.ask(QUESTION, method, max_tokens=11)
    assert answer.answer.startswith(beside.answer)
    with pytest.raises(UsageError, match="lower --max-tokens"):
        session.ask(QUESTION, method, max_tokens=13)


def test_a_text_alone_is_answered_at_the_length_that_there_is_room_for(loaded, monkeypatch):
    read = ask_without_video(loaded, QUESTION, options=GenerationOptions(max_tokens=1)).tokens.text
    monkeypatch.setattr(type(loaded), "context_length", read + 30)
    options = GenerationOptions(max_tokens=WHAT_FITS)
    assert ask_without_video(loaded, QUESTION, options=options).tokens.generated == 30
