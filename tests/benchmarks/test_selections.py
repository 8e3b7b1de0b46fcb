"""The bundled model with larger frames, and what selections are timed on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import enlarged, selections
from benchmarks.drawn import drawn
from dycoke_cli.engine.encode import Encoded, encode_video
from dycoke_cli.engine.vision_tower.tower_attention import TowerAttention
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.prompts.video_prompt import make_prompt


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("enlarged")
    enlarged.enlarge(folder, 96)
    return load(str(folder), dtype="float32")


def test_a_larger_frame_has_more_tokens(larger: LoadedModel) -> None:
    prompt = make_prompt(larger.processor, larger.family, larger.model.config, drawn(4))
    assert (prompt.frames, prompt.tokens_per_frame) == (4, 36)
    assert len(encode_video(larger.model, larger.family, prompt).embeddings) == 4 * 36 + 1


def test_its_tower_is_the_stock_tower_that_interpolates(larger: LoadedModel) -> None:
    pixels = torch.rand(2, 3, 96, 96)
    tower, stock = larger.model.model.vision_tower, load("mini", dtype="float32").model
    with torch.inference_mode():
        found = tower(pixels).last_hidden_state
        wanted = stock.model.vision_tower(pixels, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=0)  # weights are in bfloat16
    assert not torch.allclose(found, tower(pixels.flip(-1)).last_hidden_state, atol=0.1)


def test_a_side_that_is_no_grid_of_tokens_is_one_sentence(tmp_path: Path) -> None:
    app = enlarged.typer.Typer()
    app.command()(enlarged.main)
    said = CliRunner().invoke(app, [str(tmp_path / "out"), "--side", "100"])
    assert str(said.exception) == "--side 100 isn't a multiple of 16, two patches"
    assert not (tmp_path / "out").exists()


def test_a_wider_space_changes_no_angle() -> None:
    rows = torch.randn(3 * 4 + 1, 8)
    tower = TowerAttention(torch.rand(3, 4), torch.rand(3, 4, 2))
    given = selections.given_to(Encoded(rows, tower=tower), 3, 20)
    assert given.features.shape == (3, 4, 20)
    wide = given.features.reshape(12, 20)
    torch.testing.assert_close(wide @ wide.T, rows[:12] @ rows[:12].T, atol=1e-4, rtol=1e-4)


def test_each_row_selects_from_that(larger: LoadedModel) -> None:
    prompt = make_prompt(larger.processor, larger.family, larger.model.config, drawn(8))
    video = encode_video(larger.model, larger.family, prompt, with_attention=True)
    given = selections.given_to(video, 8, 300)
    kept = {name: len(method.choose(given).kept) for name, method in selections.rows().items()}
    assert {"`evs`", "`cdpruner`", "`holitom`", "`random`"} <= set(kept)
    assert kept.pop("`dycoke-plus`, 10 % kept") == int(8 * 36 * 0.1)
    assert kept.pop("`dycoke`, K=0.7") > 72
    assert set(kept.values()) == {72}


def test_a_table_has_a_column_for_each_model_and_length() -> None:
    columns = {("one", 32): {"`evs`": "1"}, ("two", 4): {"`evs`": "2"}}
    assert selections.table(columns).splitlines() == [
        "| seconds | one, 6,272 tokens | two, 784 tokens |",
        "|---|---|---|",
        "| `evs` | 1 | 2 |",
    ]
