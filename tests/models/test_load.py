"""Loading through stock from_pretrained, and every way in which a folder can be wrong."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, CATALOG, find
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.stock_processor import load_processor
from dycoke_cli.models.prompts.stock_prompt import count_tokens
from tests import warm
from tests.families.stock import clip
from tests.models.conftest import refused


@pytest.fixture(scope="module")
def mini():
    return load("mini", device="cpu", dtype="bfloat16")


def test_the_bundled_model_loads_as_stored(mini):
    stored = load_file(BUNDLED_CHECKPOINT / "model.safetensors")
    assert mini.dtype == "bfloat16"
    assert mini.device == "cpu"
    assert not mini.model.training
    state = mini.model.state_dict()
    assert {name: t.dtype for name, t in state.items() if t.dtype != torch.bfloat16} == {}
    assert sum(t.numel() for t in state.values()) >= sum(t.numel() for t in stored.values())


def test_the_catalog_tells_the_truth_about_it(mini):
    entry = CATALOG["mini"]
    counted = count_tokens(find("mini"), clip(4))
    assert replace(counted, text=0) == entry.clip_tokens(4, 24, 32)
    assert counted.text <= 2  # a line break, and its like
    parameters = sum(p.numel() for p in mini.model.parameters())
    assert entry.parameters == pytest.approx(parameters, rel=0.05)
    assert mini.info.defaults == {"prune_layer": 9, "positions": "kept"}
    assert (BUNDLED_CHECKPOINT / "model.safetensors").stat().st_size <= 20_000_000


def test_weights_bytes_are_those_in_memory(mini):
    held = {t.data_ptr(): t.nbytes for t in (*mini.model.parameters(), *mini.model.buffers())}
    assert mini.weights_bytes == sum(held.values())


def test_a_local_folder_and_another_dtype(folder):
    loaded = load(str(folder), device="cpu", dtype="float32")
    assert (loaded.name, loaded.entry, loaded.revision) == (str(folder), None, None)
    assert loaded.dtype == "float32"
    assert loaded.info.defaults == {"prune_layer": 9, "positions": "kept"}


def break_tensor(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors, next(name for name in tensors if name.endswith("q_proj.weight")))
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_missing_tensor(folder):
    break_tensor(folder, lambda tensors, name: tensors.pop(name))
    refused(folder, r"lacks weights: .*q_proj.weight")


def test_a_tensor_of_a_wrong_shape(folder):
    break_tensor(folder, lambda tensors, name: tensors.update({name: torch.zeros(2, 2)}))
    refused(folder, r"has weights of a wrong shape: .*q_proj.weight; down")


def test_a_hub_model_without_the_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("someone/that-is-not-here", r"isn't on this machine,? and the hub can't be reached")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(UsageError, match=r"device (must be auto|cuda:99)"):
        load("mini", device=device)


@pytest.mark.slow
def test_weights_are_in_memory_before_the_first_question(tmp_path):
    # A big checkpoint is mapped from its file: unread, the first question would pay for it.
    script = f"""
import json, psutil, shutil
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.load import load
folder = Path({str(tmp_path)!r}, "model")
shutil.copytree(BUNDLED_CHECKPOINT, folder)
path = folder / "model.safetensors"
tensors = load_file(path)
for name in [n for n in tensors if n.endswith(("embed_tokens.weight", "lm_head.weight"))]:
    tensors[name] = torch.zeros(100_000, tensors[name].shape[1], dtype=torch.bfloat16)
save_file(tensors, path, metadata={{"format": "pt"}})
config = json.loads((folder / "config.json").read_text())
config["text_config"]["vocab_size"] = 100_000
(folder / "config.json").write_text(json.dumps(config))
del tensors
loaded = load(str(folder), device="cpu")
before = psutil.Process().memory_info().rss
total = sum(float(p.sum()) for p in loaded.model.parameters())
print(json.dumps([psutil.Process().memory_info().rss - before, loaded.weights_bytes]))
"""
    run = warm.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    risen, weights = json.loads(run.stdout)
    assert weights > 50_000_000
    assert risen < weights / 5


@pytest.mark.parametrize("part", ["chat_template", "video_processor"])
def test_a_processor_that_takes_no_video_or_has_no_template_is_refused(part, monkeypatch):
    """As those of a model of pictures, and of a base model."""
    processor = load_processor(find("mini"), None)
    monkeypatch.setattr(processor, part, None)
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: processor)
    says = rf"^mini can't be shown a video: its processor \(\w+\) has no {part}$"
    with pytest.raises(ModelError, match=says):
        load_processor(find("mini"), None)
