"""The weights that ship: an ordinary checkpoint folder, loaded by stock classes, that answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, LlavaOnevisionForConditionalGeneration

from dycoke_cli.models.mini.architecture import build_model
from dycoke_cli.models.mini.evaluate import (
    Answered,
    Model,
    by_kind,
    evaluate,
    mean_accuracy,
)
from dycoke_cli.models.mini.export import CHECKPOINT, MOST_BYTES, write_checkpoint
from dycoke_cli.models.mini.questions import Question
from dycoke_cli.models.mini.render import render
from dycoke_cli.models.mini.samples import DEMO_WANTED, sample_questions, sample_script
from dycoke_cli.models.mini.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model(CHECKPOINT)


def test_it_is_small_and_in_bfloat16():
    assert sum(f.stat().st_size for f in CHECKPOINT.iterdir()) < MOST_BYTES
    with safe_open(CHECKPOINT / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(k).get_dtype() for k in weights.keys()} == {"BF16"}  # noqa: SIM118


def test_stock_classes_load_it(shipped: Model):
    model = AutoModelForImageTextToText.from_pretrained(CHECKPOINT)
    assert type(model) is LlavaOnevisionForConditionalGeneration
    assert type(shipped.processor).__name__ == "LlavaOnevisionProcessor"
    assert shipped.processor.tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert "auto_map" not in json.loads((CHECKPOINT / "config.json").read_text())


def test_it_tells_what_the_objects_of_the_demo_do(shipped: Model):
    script = sample_script(DEMO_WANTED, 500)
    clip = render(script, np.linspace(0, 1, 32), 256)
    asked = [q for q in sample_questions(script) if q.kind == "action"]
    assert shipped.answer(clip, [q.text for q in asked]) == [q.answer for q in asked]


@pytest.mark.slow
def test_it_answers_most_questions_about_unseen_scripts(shipped: Model):
    answered = evaluate(shipped, 18, (32,), seed=5)
    assert mean_accuracy(answered) > 0.6


def test_accuracy_is_the_mean_over_the_kinds():
    def made(kind: str, right: bool) -> Answered:
        return Answered(Question(kind, "?", "a"), "a" if right else "b", 4)

    answered = [made("count", True)] * 3 + [made("count", False), made("place", False)]
    assert by_kind(answered) == {"count": (3, 4), "place": (0, 1)}
    assert mean_accuracy(answered) == pytest.approx(0.375)


def test_a_written_checkpoint_comes_back_rounded_and_no_other(tmp_path: Path):
    torch.manual_seed(0)
    model = build_model(build_tokenizer())
    for _ in range(2):
        write_checkpoint(model, tmp_path / "new")
    loaded = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "new").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.bfloat16(), loaded[name])
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
