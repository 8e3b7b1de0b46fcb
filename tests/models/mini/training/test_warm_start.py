"""A run that begins with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dycoke_cli.errors import ModelError
from dycoke_cli.models.mini.export import CHECKPOINT
from dycoke_cli.models.mini.training.architecture import build_model
from dycoke_cli.models.mini.training.tokenizer import build_tokenizer
from dycoke_cli.models.mini.training.warm_start import layers, start_from


def test_a_smaller_model_becomes_the_lower_and_the_upper_layers() -> None:
    assert layers(6, 10) == [0, 1, 2, 3, 8, 9]
    assert layers(10, 10) == list(range(10))


def test_what_the_checkpoint_has_is_there_afterwards() -> None:
    """Whatever the bundled edition is: its tower as a whole, and its words by what they say."""
    from safetensors.torch import load_file
    from transformers import PreTrainedTokenizerFast

    stored = load_file(CHECKPOINT / "model.safetensors")
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    copied = start_from(model, tokenizer, CHECKPOINT)
    assert copied > 4_000_000
    name = "vision_tower.encoder.layers.2.mlp.fc1.weight"
    tower = model.model.vision_tower.encoder.layers[2].mlp.fc1.weight
    assert torch.equal(tower, stored[name].float())
    theirs = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT).get_vocab()
    row = stored["language_model.model.embed_tokens.weight"][theirs["circle"]].float()
    ours = model.get_input_embeddings().weight[tokenizer.get_vocab()["circle"]]
    assert torch.equal(ours, row)
    last = max(int(k.split(".")[3]) for k in stored if k.startswith("language_model.model.layers"))
    top = stored[f"language_model.model.layers.{last}.mlp.up_proj.weight"].float()
    assert torch.equal(model.get_decoder().layers[-1].mlp.up_proj.weight, top)


@pytest.mark.parametrize("left", [None, 0, 1000])
def test_what_is_no_checkpoint_is_told_in_a_sentence(left: int | None, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    if left is not None:
        for file in CHECKPOINT.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        torn = tmp_path / "model.safetensors"
        torn.write_bytes(torn.read_bytes()[:left])
    with pytest.raises(ModelError, match=r"can't be begun with: it is damaged, or no checkpoint"):
        start_from(build_model(tokenizer), tokenizer, tmp_path)
