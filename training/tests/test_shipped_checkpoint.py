"""The weights that ship: an ordinary checkpoint folder, loaded by stock classes, that answers."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    LlavaOnevisionForConditionalGeneration,
)

from dycoke_cli import Sampling, Uncompressed, VideoSession, load, read
from dycoke_cli.cli.commands.demo import QUESTIONS
from dycoke_cli.errors import OutputError
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training import checkpoints
from training.checkpoints import MOST_BYTES, WORDS, write_checkpoint
from training.forms import export_forms, form_tokenizer
from training.model import METHOD_DEFAULTS, new_model
from training.tokenizer import SPECIAL, build_tokenizer
from training.world.samples import DEMO, DEMO_WANTED, describe, sample_script

# Of all questions; the shipped weights reach .93 on 60 videos, less some room for fewer.
LEAST_OF_SHAPES = 0.85
VIDEOS = 16


def test_it_is_small_and_in_bfloat16():
    assert sum(f.stat().st_size for f in BUNDLED_CHECKPOINT.iterdir()) < MOST_BYTES
    with safe_open(BUNDLED_CHECKPOINT / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(k).get_dtype() for k in weights.keys()} == {"BF16"}  # noqa: SIM118


def test_stock_classes_load_it_and_it_is_the_model_that_training_makes():
    model = AutoModelForImageTextToText.from_pretrained(BUNDLED_CHECKPOINT)
    assert type(model) is LlavaOnevisionForConditionalGeneration
    fresh, loaded = new_model(form_tokenizer(build_tokenizer())), model.state_dict()
    shapes = {name: weight.shape for name, weight in fresh.state_dict().items()}
    assert {name: weight.shape for name, weight in loaded.items()} == shapes
    assert len(load_file(BUNDLED_CHECKPOINT / "model.safetensors")) == len(shapes)
    processor = AutoProcessor.from_pretrained(BUNDLED_CHECKPOINT)
    assert type(processor).__name__ == "LlavaOnevisionProcessor"
    assert processor.tokenizer.get_vocab() == form_tokenizer(build_tokenizer()).get_vocab()
    stored = json.loads(_stored("config.json"))
    assert "auto_map" not in stored
    # It carries the parameters that suit it.
    assert stored["dycoke"] == fresh.config.dycoke == METHOD_DEFAULTS | {"domain": "moving shapes"}


# Of the weights of the sixth version, as they were before there were tokens of forms.
TRAINED, WORDS_TRAINED = "ac16bc58a5cf4ca668dabfe2845f35cefaeece0161afe2f4793d83766ed89686", 192


def test_its_trained_weights_are_the_sixth_version_s():
    """So the logits of its words are what they were, to the bit."""
    stored, digest = load_file(BUNDLED_CHECKPOINT / "model.safetensors"), hashlib.sha256()
    for name in sorted(stored):
        trained = stored[name][:WORDS_TRAINED] if name.endswith(WORDS) else stored[name]
        digest.update(name.encode() + trained.contiguous().view(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == TRAINED


def test_its_tokens_of_forms_can_be_made_again(tmp_path: Path):
    again = tmp_path / "again"
    export_forms(BUNDLED_CHECKPOINT, again)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == _stored(name)
    # The rest of that file has the release of transformers.
    new, stored = map(GenerationConfig.from_pretrained, (again, BUNDLED_CHECKPOINT))
    assert new.suppress_tokens == stored.suppress_tokens


def test_a_text_is_read_and_written_as_before_there_were_tokens_of_forms():
    plain, shipped = build_tokenizer(), AutoTokenizer.from_pretrained(BUNDLED_CHECKPOINT)
    draw = random.Random(0)
    for _ in range(1000):
        ids = draw.choices(range(len(SPECIAL), WORDS_TRAINED), k=draw.randint(1, 6))
        text = plain.decode(ids)
        assert shipped.decode(ids) == text
        asked = f'<|im_start|>user <video>\nIs "{text}" {{3}} a ▁Zebra\'s, or [42]?<|im_end|>'
        assert shipped(asked)["input_ids"] == plain(asked)["input_ids"]


def test_no_token_of_forms_is_the_likeliest_where_a_word_is_likely_at_all():
    stored = load_file(BUNDLED_CHECKPOINT / "model.safetensors")
    [rows] = (weight.float() for name, weight in stored.items() if name.endswith("lm_head.weight"))
    torch.manual_seed(0)
    hidden = torch.randn(2000, rows.shape[1])
    logits = hidden @ rows.T
    likeliest = logits[:, :WORDS_TRAINED].amax(1)
    assert (likeliest > 0).all()
    assert (logits[:, WORDS_TRAINED:].amax(1) < likeliest).all()
    settings = GenerationConfig.from_pretrained(BUNDLED_CHECKPOINT)
    assert settings.suppress_tokens == [*range(WORDS_TRAINED, len(rows))]


def _stored(name: str) -> bytes:
    return (BUNDLED_CHECKPOINT / name).read_bytes()


@pytest.mark.extended
@pytest.mark.slow
def test_it_is_right_about_the_demo():
    session = VideoSession(load("mini", device="cpu"), read(DEMO, Sampling(frames=32)))
    told = describe(sample_script(DEMO_WANTED))
    for question in QUESTIONS:
        answer = session.ask(question, Uncompressed()).answer
        assert answer.removesuffix(".")[4:] in told


@pytest.mark.extended
@pytest.mark.slow
def test_it_answers_questions_about_videos_that_it_never_saw():
    shapes, loaded, right = Shapes(), load("mini", device="cpu"), []
    items = shapes.items("validation", VIDEOS)
    for video in dict.fromkeys(item.video for item in items):
        session = VideoSession(loaded, read(shapes.file(video), Sampling(frames=32)))
        for item in (i for i in items if i.video == video):
            said = session.ask(item.question, Uncompressed(), history=item.history).answer
            right.append(shapes.score(item, said).right)
    assert sum(right) / len(right) >= LEAST_OF_SHAPES, f"{sum(right)} of {len(right)}"


def test_a_written_checkpoint_comes_back_rounded_and_no_other(tmp_path: Path):
    torch.manual_seed(0)
    model = new_model(build_tokenizer())
    for _ in range(2):
        write_checkpoint(model, tmp_path / "new")
    loaded = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "new").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.bfloat16(), loaded[name])
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_what_is_too_large_does_not_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 1_000_000)
    with pytest.raises(OutputError, match=r"at most 1,000,000 may ship"):
        write_checkpoint(new_model(build_tokenizer()), tmp_path / "new")
    assert not (tmp_path / "new").exists()
