"""The model on SmolLM2: what is frozen, what is stored, and that it stays a stock model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training import checkpoints, lora
from training.architectures import ARCHITECTURES, BUNDLED, smollm2
from training.architectures.smollm2 import RANK, SmolLM2
from training.auxiliary_losses import AuxiliaryLosses
from training.batches import Shape
from training.checkpoints import STATE, export_run
from training.curriculum import Recipe, Stage
from training.lora import FrozenLinear, LoraLinear
from training.objective import embed, run_layers
from training.tokenizer import CLOSE
from training.trainer import Progress, Trainer, optimizers
from training.world.random_scripts import ScriptLimits, draw_script
from training.world.script_questions import ask

from .first_steps import first_steps, judged
from .parts import batch_of, parts
from .stand_in import STAND_IN, TRUE, language, llama, tokenizer

MOST_BYTES = 30_000_000
STILL = Shape(
    videos=2, frames=1, text=96, side=64, limits=ScriptLimits((0, 0), 1), out_of_domain=0.0
)
RECIPE = replace(
    Recipe(),
    steps=2,
    warmup=1,
    architecture="smollm2",
    curriculum=(Stage("pictures", ((STILL, 1.0),), 1.1, 1.0),),
)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "smollm2", STAND_IN)


def learned_bytes(trainer_like: tuple[torch.optim.Optimizer, torch.optim.Optimizer]) -> int:
    """In float32: Muon keeps one moment per weight, AdamW two."""
    muon, adam = (
        sum(w.numel() for group in optimizer.param_groups for w in group["params"])
        for optimizer in trainer_like
    )
    return 4 * (2 * muon + 3 * adam)


def test_a_state_has_what_was_trained_and_the_name_of_what_was_not(tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    frozen = {name: value.clone() for name, value in trainer.model.named_buffers()}
    trainer.run(lambda *_: None)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["language"] == language().digest
    of_language = [name for name in state["model"] if "language_model" in name or "head" in name]
    assert of_language
    assert all(name.endswith(("lora_a", "lora_b")) for name in of_language)
    # Two steps: from the first one B is no longer zero, so A learns from the second on.
    learned = STAND_IN.model(STAND_IN.tokenizer()).state_dict()
    assert state["model"].keys() == learned.keys()
    for name, value in trainer.model.named_buffers():
        assert torch.equal(value, frozen[name])
    for name in of_language:
        assert bool(state["model"][name].any())
    # The file is what the count says, but for names and the like.
    size = learned_bytes((trainer.muon, trainer.adam))
    assert size < (tmp_path / STATE).stat().st_size < 1.1 * size + 200_000


def test_at_the_true_size_a_state_has_less_than_30_mb() -> None:
    tiny = language()
    with torch.device("meta"):
        # Words are frozen, so it doesn't matter how many there are.
        large = llama({**TRUE, "vocab_size": len(tiny.tokenizer)})
        true = SmolLM2(lambda: replace(tiny, model=large))
        known = true.tokenizer(128)
        model = true.model(known, 128)
        auxiliary = AuxiliaryLosses(Recipe(), true.codec(known), TRUE["hidden_size"])
    # Of q, k, v and o in 30 layers.
    adapters = sum(w.numel() for name, w in model.named_parameters() if "lora" in name)
    assert adapters == 30 * RANK * (2 * (576 + 576) + 2 * (576 + 192))
    trained = sum(weight.numel() for weight in model.parameters())
    assert 4 * trained < 10_000_000
    stored = learned_bytes(optimizers(model, true, auxiliary, Recipe()))
    assert 20_000_000 < stored < 0.95 * MOST_BYTES


def test_a_run_keeps_to_its_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer(RECIPE, tmp_path).save()
    other = SmolLM2(lambda: replace(language(), digest="fedcba987654"))
    monkeypatch.setitem(ARCHITECTURES, "smollm2", other)
    sentence = r"SHA-256 0123456789abcdef\) than the one that is here \(fedcba987654\): put that"
    with pytest.raises(ModelError, match=sentence):
        Trainer(RECIPE, tmp_path)
    with pytest.raises(ModelError, match=sentence):
        export_run(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (False, "none.gguf isn't there: training/README.md has the commands"),
        (True, r"none.gguf needs gguf and accelerate: pip install gguf accelerate"),
    ],
)
def test_without_the_language_model_there_is_a_sentence(
    there: bool, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.gguf"
    monkeypatch.setattr(smollm2, "FILE", file)
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    if there:
        file.touch()
    with pytest.raises(ModelError, match=sentence):
        SmolLM2().tokenizer()


def test_it_begins_with_the_bundled_models_tower_and_nothing_else_of_it(tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path, begin=BUNDLED_CHECKPOINT)
    stored = load_file(BUNDLED_CHECKPOINT / "model.safetensors")
    tower = {name: weight for name, weight in stored.items() if name.startswith("vision_tower.")}
    ours = trainer.model.state_dict()
    assert tower
    for name, weight in tower.items():
        assert torch.equal(ours[f"model.{name}"], weight.float())
    # The projector has another width; so the whole curriculum is ahead.
    assert not trainer.recipe.begun


def test_adapters_change_nothing_at_first_and_merge_into_what_they_did() -> None:
    torch.manual_seed(0)
    stock = torch.nn.Linear(6, 4, bias=False)
    layer = LoraLinear.adapting(stock, 2, 0.5)
    given = torch.randn(3, 6)
    assert torch.equal(layer(given), stock(given))
    torch.nn.init.normal_(layer.lora_b)
    by_hand = given @ stock.weight.T + 0.5 * (given @ layer.lora_a.T) @ layer.lora_b.T
    torch.testing.assert_close(layer(given), by_hand)
    torch.testing.assert_close(given @ layer.merged().T, by_hand)


@pytest.mark.parametrize("in_float32", [True, False])
def test_frozen_layers_give_the_product_of_float32_to_a_rounding(
    in_float32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "is_faster_in_float32", lambda device: in_float32)
    torch.manual_seed(0)
    stock = torch.nn.Linear(64, 32)
    layer = FrozenLinear.of(stock)
    lora.freeze(layer)
    given, pull = torch.randn(3, 64), torch.randn(3, 32).bfloat16()
    inputs = given.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(inputs)
    found.backward(pull)
    exact, gradient = stock(given), pull.float() @ stock.weight
    assert found.dtype == torch.bfloat16
    # In float32 nothing but the result is rounded.
    assert torch.equal(found, exact.bfloat16()) == in_float32
    assert torch.equal(inputs.grad, gradient) == in_float32
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)
    torch.testing.assert_close(inputs.grad, gradient, atol=0.05, rtol=0.05)


def test_the_merged_model_gives_the_logits_of_the_trained_one() -> None:
    model = STAND_IN.model(STAND_IN.tokenizer())
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(weight, std=0.5)
    merged = STAND_IN.stock(model)
    assert not any(isinstance(part, LoraLinear) for part in merged.modules())
    ids = torch.tensor([tokenizer()("What happens after that?")["input_ids"]])
    with torch.no_grad():
        before, ours = (m(input_ids=ids).logits for m in (language().model, model))
        torch.testing.assert_close(merged(input_ids=ids).logits, ours)
        assert not torch.allclose(before, ours[..., : before.shape[-1]], atol=1e-3)
        fresh = STAND_IN.model(STAND_IN.tokenizer())(input_ids=ids).logits
        # Frozen, it is the language model itself; and no answer has one of the two tokens more.
        torch.testing.assert_close(fresh[..., : before.shape[-1]], before)
        assert bool((fresh[..., before.shape[-1] :] < before.amax(-1, keepdim=True)).all())


def test_probes_read_tokens_as_large_as_those_of_the_bundled_model() -> None:
    codec, _, model = parts(64, STAND_IN)
    batch = batch_of(3, replace(STILL, architecture=STAND_IN))
    given = []
    decoder = model.model.language_model
    hook = decoder.layers[-2].register_forward_hook(lambda *found: given.append(found[-1]))
    read = run_layers(model, batch, *embed(model, batch, codec))
    hook.remove()
    for tokens in (read.changed, read.known, read.late):
        assert bool(((tokens.square().mean(-1).sqrt() - 0.25).abs() < 1e-3).all())
    own = given[0].square().mean(-1, keepdim=True).sqrt()
    assert own.amax() > 5 * own.amin()
    assert BUNDLED.readable(own) is own


def test_it_is_never_written_over_the_bundled_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(checkpoints, "BUNDLED_CHECKPOINT", tmp_path / "bundled")
    model = STAND_IN.model(STAND_IN.tokenizer())
    with pytest.raises(OutputError, match=r"may ship. Name a folder of your own \(--out\)"):
        checkpoints.write_checkpoint(model, tmp_path / "bundled", STAND_IN)
    assert checkpoints.write_checkpoint(model, tmp_path / "own", STAND_IN) > 1_000_000
    # What is quantized so is no checkpoint that `dycoke ask` takes.
    assert "gguf" not in (tmp_path / "own" / "config.json").read_text()


def test_targets_stand_at_the_tokens_that_their_words_end_with() -> None:
    """By a tokenizer that makes several tokens of a word."""
    batch = batch_of(3, Shape(videos=6, frames=2, text=400, architecture=STAND_IN))
    _, processor, _ = parts(64, STAND_IN)
    decode = processor.tokenizer.decode
    claims = 0
    for row, questions in enumerate(batch.questions):
        for segment, question in enumerate(questions):
            at = (batch.segments[row] == segment).nonzero()[:, 0]
            ids, answered = batch.text[row, at], batch.answered[row, at]
            assert decode(batch.labels[row, at][answered]) == question.answer + CLOSE
            ends = (batch.verdicts[row, at] >= 0).nonzero()[:, 0].tolist()
            assert len(ends) == len({claim.text for claim in question.claims})
            said = [decode(ids[: end + 1]).lower() for end in ends]
            for claim, text in zip(question.claims, said, strict=False):
                assert text.endswith(claim.text.lower())
                claims += 1
            told = batch.sought[row, at][answered]
            if question.kind == "description":
                pieces = [decode(batch.labels[row, at][answered][told == n]) for n in told.unique()]
                assert all(piece.strip(" ,").startswith(("First", "then", "finally", "The"))
                           for piece in pieces)  # fmt: skip
    assert claims > 20


def test_answers_come_back_to_the_letter() -> None:
    codec, processor, _ = parts(64, STAND_IN)
    for seed in range(5):
        for question in ask(draw_script([seed, 2], "train"), np.random.default_rng(seed)):
            ids = codec.answer(question.answer)
            assert processor.tokenizer.decode(ids, skip_special_tokens=True) == question.answer


class Killed(Exception):
    pass


@pytest.mark.extended
@pytest.mark.slow
def test_the_first_steps(tmp_path: Path) -> None:
    """What `first_steps` does with SmolLM2 itself; killed on the way, it ends the same."""
    still = replace(STILL, videos=8)
    clips = replace(STILL, videos=4, frames=2, text=128)
    stage = Stage("all", ((still, 0.7), (clips, 0.3)), 1.1, 1.0)
    # So few channels take a higher rate.
    recipe = replace(RECIPE, steps=16, warmup=2, curriculum=(stage,), adam_lr=2e-2)
    whole = first_steps(recipe, tmp_path / "whole", still)
    assert whole.after < 0.7 * whole.before
    assert whole.answer["tokens"]["visual"] == 4 * 16
    learned = tmp_path / "whole" / "learned"
    assert (learned / STATE).stat().st_size < (tmp_path / "whole" / STATE).stat().st_size / 4
    assert judged(recipe, learned, still) == whole

    def kill(progress: Progress, _: Stage) -> None:
        if progress.step == 9:
            raise Killed

    with pytest.raises(Killed):
        first_steps(recipe, tmp_path / "killed", still, kill, save_every=0)
    assert first_steps(recipe, tmp_path / "killed", still) == whole
    ours, theirs = (
        torch.load(tmp_path / name / STATE, weights_only=True) for name in ("killed", "whole")
    )
    for part in ("model", "auxiliary"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])
