"""A model of each family that stock transformers stores passes the checks of strangers' files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dycoke_cli.models.files.small_files import CONFIG, check_small_files, read_json
from dycoke_cli.models.prompts.chat import check_template
from tests.families.tiny import MAKERS, make


@pytest.mark.parametrize("family", MAKERS)
def test_what_stock_transformers_stores_passes(family: str, tmp_path: Path) -> None:
    model, processor = make(family, torch.float32)
    model.config.save_pretrained(tmp_path)
    model.generation_config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert read_json(tmp_path / CONFIG)["model_type"] == model.config.model_type
    check_small_files(family, tmp_path)
    check_template(processor)
