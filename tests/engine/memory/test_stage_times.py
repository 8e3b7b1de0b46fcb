"""Times of a model's stages: they correct predicted seconds, and survive damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.engine.memory.expected_time import (
    Rates,
    StageTimes,
    read_stage_times,
    write_stage_times,
)

RATES = Rates(
    call=1e-5, layers=4, vision_layers=2, patch=1e-4, patch_pair=1e-7, token=1e-3, score=1e-6,
    block=256, logits=0.01, step=0.05, attended=1e-5,
)  # fmt: skip


def timed(factors: tuple[float, float, float]) -> StageTimes:
    """Stages that took so many times what is predicted."""
    return StageTimes(
        frames=8,
        patches=16,
        patches_together=64,
        tokens=200,
        chunk_len=128,
        steps=10,
        vision_s=factors[0] * (RATES.vision(8, 16, 64) or 0),
        prefill_s=factors[1] * RATES.prefill(200, 128),
        decode_s=factors[2] * RATES.decode(10, 205),
        selection_s=0.5,
        visual=128,
    )


def test_corrections_are_what_was_measured_over_what_is_predicted() -> None:
    factors = (1.4, 0.9, 1.2)
    assert timed(factors).corrections(RATES) == pytest.approx(factors)


def test_what_was_not_measured_is_not_corrected() -> None:
    single = replace(timed((2, 2, 2)), steps=0, decode_s=0.0)
    assert single.corrections(RATES) == pytest.approx((2, 2, 1))
    unknown = replace(RATES, patch_pair=None)
    assert timed((2, 2, 2)).corrections(unknown) == pytest.approx((1, 2, 2))


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    file, times = tmp_path / "stages" / "one.json", timed((1, 2, 3))
    assert read_stage_times(file) is None
    write_stage_times(file, times)
    assert read_stage_times(file) == times


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"frames": "many"}', "\xff", "[" * 10**5])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "one.json"
    file.write_bytes(content.encode("latin-1"))
    file.chmod(0o600)
    assert read_stage_times(file) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file")
    write_stage_times(tmp_path / "stages" / "one.json", timed((1, 1, 1)))
