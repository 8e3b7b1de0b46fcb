"""The file of docs/evaluate.md for VLMEvalKit as it stands there, in a stand-in of it.

The stand-in has the interface that the page relies on: `supported_VLM`, whose entries make a model;
its `generate(message, dataset)`, which runs the stock processor and the stock `generate()`.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, Sampling, Uncompressed, VideoSession, load, read
from dycoke_cli.models.load import LoadedModel
from tests.cli.harness import CLIP
from tests.pages import section

PAGE = section("evaluate.md", "In VLMEvalKit")
QUESTION = "What does the blue star do?"
STOCK, OURS = "llava-onevision-qwen2-7b-ov-hf", "onevision-7b-dycoke"
# What the stand-in's `run.py` does with each model that it is asked to run.
RUN = """
from vlmeval.config import answers, supported_VLM

message = [{{"type": "video", "value": {clip!r}}}, {{"type": "text", "value": {question!r}}}]
assert __name__ == "__main__"
for name in {names}:
    answers[name] = supported_VLM[name]().generate(message, dataset="Video-MME")
"""


class Kit:
    """A model as those of VLMEvalKit for transformers: `model`, `processor` and `generate`."""

    def __init__(self, loaded: LoadedModel, prefills: list[int], **_: Any) -> None:
        self.model, self.processor = loaded.model, loaded.processor
        self.prefills = prefills

    def generate(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        [video], [text] = (
            [part["value"] for part in message if part["type"] == kind]
            for kind in ("video", "text")
        )
        frames = torch.from_numpy(read(video, Sampling(frames=8)).frames).permute(0, 3, 1, 2)
        content = [{"type": "video"}, {"type": "text", "text": text}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = self.processor(
            text=[chat], videos=[[frames]], return_tensors="pt", do_sample_frames=False
        )
        layer = self.model.get_decoder().layers[-1]
        hook = layer.register_forward_pre_hook(self._note, with_kwargs=True)
        with hook:
            output = self.model.generate(**inputs, max_new_tokens=24, do_sample=False)
        new = output[0][inputs["input_ids"].shape[1] :]
        return str(self.processor.decode(new, skip_special_tokens=True))

    def _note(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if hidden.shape[1] > 1:
            self.prefills.append(hidden.shape[1])


def test_the_file_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (file,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert STOCK in file
    assert OURS in file
    loaded = load("mini", device="cpu", dtype="float32")
    generate = loaded.model.generate
    config = ModuleType("vlmeval.config")
    prefills: list[int] = []
    config.supported_VLM = {STOCK: partial(Kit, loaded, prefills)}  # type: ignore[attr-defined]
    config.answers = {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vlmeval", ModuleType("vlmeval"))
    monkeypatch.setitem(sys.modules, "vlmeval.config", config)
    monkeypatch.chdir(tmp_path)
    run = RUN.format(clip=str(CLIP), question=QUESTION, names=[STOCK, OURS])
    (tmp_path / "run.py").write_text(run)

    exec(compile(file, "docs/evaluate.md", "exec"), {"__name__": "__main__"})

    session = VideoSession(loaded, read(CLIP, Sampling(frames=8)))
    monkeypatch.setattr(loaded.model, "generate", generate)
    plain = session.ask(QUESTION, Uncompressed(), max_new_tokens=24)
    merged = session.ask(QUESTION, DyCoke(merge_ratio=0.7), max_new_tokens=24)
    answers: dict[str, str] = config.answers
    assert answers[STOCK].strip() == plain.answer
    assert answers[OURS].strip() == merged.answer
    assert prefills == [one.tokens.text + one.tokens.visual_kept for one in (plain, merged)]
    assert prefills[1] < prefills[0]
    assert not [one for one in recwarn if "was attached" in str(one.message)]
