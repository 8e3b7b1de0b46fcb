"""What the small files of a model may hold: limits that no published model comes near."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.models.catalog import CONFIGURATIONS
from dycoke_cli.models.files import small_files
from dycoke_cli.models.files.small_files import UnreadableError, check_settings, read_json

PUBLISHED = sorted(CONFIGURATIONS.rglob("*.json"))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_settings_pass(file: Path) -> None:
    content = json.loads(file.read_text())
    check_settings("config.json", content.get("config", content))


def test_what_large_models_say_passes() -> None:
    experts = {f"model.layers.{n}": {"bits": 4} for n in range(5_000)}
    config = {
        "max_position_embeddings": 10_485_760,
        "rope_theta": 45_913_474_692.0,
        "num_experts": 512,
        "num_hidden_layers": 126,
        "attn_implementation": {"text_config": "sdpa", "vision_config": "eager"},
        "torch_dtype": "torch.bfloat16",
        "auto_map": {"AutoModel": "modeling.Mine"},
        "quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": experts},
    }
    check_settings("config.json", config)
    check_settings("tokenizer_config.json", {"model_max_length": 10**30})
    one = {"num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "guidance_scale": 1}
    none = {"penalty_alpha": 0, "prompt_lookup_num_tokens": 0, "constraints": None}
    check_settings("generation_config.json", {**one, **none, "repetition_penalty": 1.05})


@pytest.mark.parametrize("package", [None, "json"])
def test_flash_attention_is_for_those_who_installed_it(
    package: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: Mapping[str, str] = {} if package is None else {"flash_attention_2": package}
    monkeypatch.setattr(small_files, "_FLASH", there)
    config = {"_attn_implementation": "flash_attention_2"}
    if package is not None:
        check_settings("config.json", config)
        return
    with pytest.raises(UnreadableError, match="'flash_attention_2', which is never run"):
        check_settings("config.json", config)


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({"num_hidden_layers": 1024}, True),
        ({"num_hidden_layers": 1025}, False),
        ({"vocab_size": 2**27}, True),
        ({"vocab_size": 2**27 + 1}, False),
        ({"a": {"size": {"height": 4096}}}, True),
        ({"a": {"size": {"height": 4097}}}, False),
        ({"scale": float("inf")}, False),
        ({"scale": -(10**400)}, False),
        ({"rope_theta": 10**400}, False),
        ({"scale": [1.0, float("nan")]}, False),
        ({"deep": [[[[]]]]}, True),
    ],
)
def test_numbers_at_their_limits(values: dict[str, Any], passes: bool) -> None:
    if passes:
        check_settings("config.json", values)
        return
    with pytest.raises(UnreadableError, match="which no real model has"):
        check_settings("config.json", values)


def test_depth_at_its_limit() -> None:
    def nested(depth: int) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for _ in range(depth):
            content = {"a": content}
        return content

    check_settings("config.json", nested(32))
    with pytest.raises(UnreadableError, match="nested deeper"):
        check_settings("config.json", nested(33))


def test_reading_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        read_json(tmp_path / "config.json")
    with pytest.raises(UnreadableError, match="regular file"):
        read_json(tmp_path)
