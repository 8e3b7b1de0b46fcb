"""What prompts say of times and lengths, against the file: all families that write them.

The file has 300 frames, five a second. Which of them are shown, and when, follows from the frames
themselves: each has its number in its brightness.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.families import FAMILIES, UNLISTED
from dycoke_cli.models.prompts.stock_processor import ShownFrames, frames_metadata, lengths_of
from dycoke_cli.models.prompts.stock_prompt import make_prompt, show
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.families.tiny import UNLISTED_MAKERS, make
from tests.video.clips import write_pictures

FRAMES, RATE = 300, 5
LEVELS = 20  # brightness of frame i: a row of three digits to the base 7, each 20 apart


def _numbered(number: int) -> np.ndarray:
    picture = np.zeros((48, 48, 3), np.uint8)
    for column, digit in enumerate((number // 49, number // 7 % 7, number % 7)):
        picture[:, 16 * column : 16 * column + 16] = 40 + LEVELS * digit
    return picture


def _number(picture: np.ndarray) -> int:
    digits = [round((int(picture[24, 8 + 16 * at, 0]) - 40) / LEVELS) for at in range(3)]
    return 49 * digits[0] + 7 * digits[1] + digits[2]


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 s."""
    path = tmp_path_factory.mktemp("times") / "minute.mkv"
    pictures = [_numbered(number) for number in range(FRAMES)]
    return write_pictures(path, pictures, codec="ffv1", pix_fmt="yuv444p", rate=RATE)


@pytest.fixture(scope="module")
def clips(minute: Path) -> list[Clip]:
    """It as it is sampled in each way."""
    return [read(str(minute), sampling) for sampling in SAMPLINGS]


def pairs(seconds: list[float]) -> list[float]:
    """Of the frames merged in pairs: the mean of both."""
    return [sum(seconds[i : i + 2]) / 2 for i in range(0, len(seconds), 2)]


def firsts(seconds: list[float]) -> list[float]:
    return seconds[::2]


def clock(text: str) -> float:
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


# What finds the times in the prompt, which times of the frames they are, how they are written, and
# by how much that rounds.
WRITTEN: dict[str, tuple[str, Callable, Callable, float]] = {
    **dict.fromkeys(
        ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "cosmos3_omni", "cohere_compass"),
        (r"<([\d.]+) seconds>", pairs, float, 0.051),
    ),
    "cosmos3_edge": (r"<([\d.]+) seconds>", list, float, 0.051),
    **dict.fromkeys(("gemma4", "gemma4_unified"), (r"(\d\d:\d\d) ", list, clock, 1.0)),
    "molmo2": (r"([\d.]+) <frame_start>", list, float, 0.051),
    **dict.fromkeys(("glm4v", "glm4v_moe"), (r"image\|>(\d+)", firsts, float, 1.0)),
    "glm46v": (r"image\|>([\d.]+) seconds", firsts, float, 0.051),
    "video_llama_3": (r"Time ([\d.]+)s:", list, float, 0.051),
    "smolvlm": (r"Frame from (\d\d:\d\d):", list, clock, 1.0),
}
UNLISTED_WRITTEN: dict[str, tuple[str, Callable, Callable, float]] = {
    **dict.fromkeys(("qwen4_exp", "lfm3_vl"), (r"<([\d.]+) seconds>", pairs, float, 0.051)),
    "minimax_m3_vl": (r"([\d.]+) seconds", firsts, float, 0.051),
    "nemotron_h_omni": (r"sampled at ([\d.]+) seconds", list, float, 0.051),
    "kimi_k25": (r"(\d\d:\d\d:\d\d\.\d+)<\|media_begin", lambda s: s[::4], clock, 0.051),
    **dict.fromkeys(("muse_spark", "muse_glimmer"), (r"Time: ([\d.]+)s", firsts, float, 0.051)),
    **dict.fromkeys(("glm5_next", "glmga"), (r"([\d.]+) seconds", firsts, float, 0.051)),
}
SAMPLINGS = [
    Sampling(frames=2),
    Sampling(frames=8),
    Sampling(fps=0.5),
    Sampling(frames=4, start_s=40, end_s=50),
]


@cache
def _unlisted(family: str) -> tuple[Any, Any]:
    return UNLISTED_MAKERS[family]()


def expanded(family: str, clip: Clip) -> str:
    """What stands for the video in the prompt; the whole prompt, of families outside the table."""
    if family in FAMILIES:
        model, processor = make(family)
        return make_prompt(processor, FAMILIES[family], model.config, clip).expanded
    model, processor = _unlisted(family)
    prompt = show(processor, UNLISTED, model.config, clip)
    return processor.tokenizer.decode(prompt.input_ids("")[0])


@pytest.mark.parametrize("family", WRITTEN | UNLISTED_WRITTEN)
def test_times_are_those_of_the_files_frames(family: str, clips: list[Clip]) -> None:
    pattern, of_frames, value, rounding = (WRITTEN | UNLISTED_WRITTEN)[family]
    for clip in clips:
        wanted = of_frames([_number(frame) / RATE for frame in clip.frames])
        said = [value(text) for text in re.findall(pattern, expanded(family, clip))]
        assert said == pytest.approx(wanted, abs=rounding)
        assert len(said) == len(wanted)


def test_no_other_family_writes_times(clips: list[Clip]) -> None:
    """Those of a family that isn't listed above would be unchecked."""
    clip = clips[0]
    for family in FAMILIES.keys() - WRITTEN.keys():
        text = re.sub(r"<[^>]*>|\[[A-Z_]*\]|Frame\d: ", "", expanded(family, clip))
        assert not re.search(r"\d", text), family


def test_smolvlm_is_told_how_long_the_file_is(clips: list[Clip]) -> None:
    """Not how far apart the frames are; of a part, too, whose times are the file's."""
    for clip in clips:
        assert " frames from a 0:01:00 [H:MM:SS] video." in expanded("smolvlm", clip)


def test_frames_that_are_of_no_file_end_with_the_last_one() -> None:
    clip = ShownFrames(np.zeros((2, 16, 16, 3), np.uint8), (0.0, 59.96))
    told = frames_metadata(clip.frames.shape[1:3], clip.timestamps_s, lengths_of(clip))
    assert (told["duration"], told["total_num_frames"] / told["fps"]) == (60.0, 60.0)


def test_a_part_of_a_folder_of_pictures(tmp_path: Path) -> None:
    """Twenty pictures, two a second: 10 s, of which 2 s are shown."""
    for number in range(20):
        Image.fromarray(_numbered(number)).save(tmp_path / f"{number:02}.png")
    clip = read(str(tmp_path), Sampling(picture_fps=2, start_s=4, end_s=6))
    assert [_number(frame) for frame in clip.frames] == [8, 9, 10, 11]
    told = frames_metadata(clip.frames.shape[1:3], clip.timestamps_s, lengths_of(clip))
    assert (told["duration"], told["total_num_frames"] / told["fps"]) == (10.0, 2.0)
    assert [at / told["fps"] for at in told["frames_indices"]] == [4.0, 4.5, 5.0, 5.5]


def test_qwen2_5_vl_is_told_the_rate_as_by_its_own_code(clips: list[Clip]) -> None:
    """qwen-vl-utils: frames / frames of the part in the file * its rate; two are merged."""
    model, processor = make("qwen2_5_vl")
    for clip, file_frames in zip(clips, (FRAMES, FRAMES, FRAMES, 10 * RATE), strict=True):
        prompt = make_prompt(processor, FAMILIES["qwen2_5_vl"], model.config, clip)
        rate = len(clip.frames) / file_frames * RATE
        assert prompt.inputs["second_per_grid_ts"].tolist() == pytest.approx([2 / rate])


@pytest.mark.parametrize("family", sorted({entry.family for entry in CATALOG.values()}))
def test_an_estimate_counts_the_text_between_frames(family: str) -> None:
    """By how the published tokenizers split it: digits one by one, those of GLM in threes."""
    entry = next(one for one in CATALOG.values() if one.family == family)
    clip = ShownFrames(np.zeros((16, 48, 48, 3), np.uint8), tuple(20.5 + at for at in range(16)))
    model, processor = make(family)
    prompt = make_prompt(processor, FAMILIES[family], model.config, clip)
    digits = r"\d{1,3}" if family.startswith("glm") else r"\d"
    pieces = re.findall(rf"<[^<>\s]+>|{digits}| ?[^\W\d]+|\s|[^\w\s]", prompt.expanded)
    [(placeholder, count)] = Counter(pieces).most_common(1)
    assert count >= prompt.visual, placeholder
    text = len(pieces) - count
    estimated = entry.clip_tokens(16, 480, 480)
    if estimated is None:  # its own processor is asked
        assert entry.frame_text == entry.clip_text == 0
    else:
        assert estimated.frames == prompt.frames
        assert abs(estimated.text - text) <= prompt.frames
