"""Models that are shown pictures alone: frames are several, where the template allows it."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import Uncompressed, VideoSession
from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.families import Family, remember
from dycoke_cli.models.families.discovery import find_layout
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_processor import load_processor
from tests.families.found import in_dtype_of, newest, words
from tests.families.listed import CLIP_PARTS, CLIP_VISION, CROPPED, SMOL_SIZE
from tests.families.parts import SIDE, TEXT, VISION, Maker, template
from tests.families.sessions import METHODS, NEW_TOKENS, method_of
from tests.families.stock import QUESTION, Masked, clip
from tests.families.tiny import sharpened

pytestmark = [newest, pytest.mark.extended]

FRAMES = 5


MAKERS = {
    "llava": Maker(
        "Llava",
        {"vision_config": CLIP_VISION, "text_config": TEXT | {"model_type": "llama"}},
        {"image_token_id": "<image>"}, template("", "<image>\n"), None, CROPPED,
        words={"image_token": "<image>"}, options=CLIP_PARTS["options"],
        classes={"ImageProcessor": "CLIPImageProcessor"},
    ),
    "idefics3": Maker(
        "Idefics3",
        {
            "text_config": TEXT | {"model_type": "llama"},
            "vision_config": VISION | {"image_size": SIDE}, "scale_factor": 2,
        },
        {"image_token_id": "<image>"}, template("", "<image>"), None,
        SMOL_SIZE | {"do_image_splitting": False}, words={"image_token": "<image>"},
        options={"image_seq_len": 4},
    ),
}  # fmt: skip


@cache
def found(name: str) -> tuple[Any, Any, Family]:
    torch.manual_seed(0)
    model, processor = MAKERS[name]()
    model = sharpened(model, torch.float64)
    layout = find_layout(model, processor, name)
    remember(model.config, layout)
    return model, processor, layout


def session(name: str) -> VideoSession:
    model, processor, layout = found(name)
    loaded = LoadedModel(name, None, None, model, processor, layout, 0.0)
    return VideoSession(loaded, clip(FRAMES))


def stock_inputs(name: str) -> dict[str, Any]:
    """What a user of stock transformers gives to `generate()`: five pictures."""
    model, processor, _ = found(name)
    content = [*[{"type": "image"}] * FRAMES, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    frames = [torch.from_numpy(frame).permute(2, 0, 1) for frame in clip(FRAMES).frames]
    return in_dtype_of(model, processor(text=[text], images=[frames], return_tensors="pt"))


@pytest.mark.parametrize("name", MAKERS)
def test_without_a_method_it_answers_as_stock_generate_does(name: str) -> None:
    model, processor, layout = found(name)
    assert layout.as_images
    inputs = stock_inputs(name)
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    answer = session(name).ask(QUESTION, Uncompressed(), max_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, tokens[0, inputs["input_ids"].shape[1] :])
    assert answer.tokens.visual == int((inputs["input_ids"] == layout.token_id).sum()) > 0
    assert answer.frames.count == FRAMES


@pytest.mark.parametrize(("name", "method"), [*product(MAKERS, METHODS)])
def test_a_method_gives_what_the_masked_reference_gives(name: str, method: str) -> None:
    model, processor, layout = found(name)
    assert layout.only_none == ""
    inputs = stock_inputs(name)
    visual = (inputs["input_ids"][0] == layout.token_id).nonzero().flatten().tolist()
    merge_ratio, prune_ratio = METHODS[method]
    tokens, _, _ = Masked(model, inputs, FRAMES, visual).generate(
        NEW_TOKENS, merge_ratio=merge_ratio, prune_ratio=prune_ratio or 0.0
    )
    answer = session(name).ask(QUESTION, method_of(method, "kept"), max_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, torch.tensor(tokens))


def test_one_without_a_template_is_refused_in_one_sentence(tmp_path: Path) -> None:
    _, processor, _ = found("llava")
    processor.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    source = ModelRef("it", str(tmp_path), None, local=True)
    says = r"can't be shown a video: its processor \(\w+\) has no chat_template$"
    with pytest.raises(ModelError, match=says):
        load_processor(source, None)
