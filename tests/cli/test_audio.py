"""`--audio`: what a model that listens is given, and the sentences where nothing is heard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycoke_cli.models.files.on_disk import audio_rate
from dycoke_cli.video import Sampling, read
from tests import documents
from tests.cli.harness import CLIP, run_here
from tests.families.test_unlisted import newest
from tests.families.tiny import make
from tests.runs.remote.endpoint import serving
from tests.video.test_audio import LENGTH_S, RATE, write


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("audio") / "tone.mkv")


def test_probe_tells_of_the_audio_of_a_file(tone: Path) -> None:
    found = run_here("probe", tone)
    rows = {line[:16].strip(): line[16:].strip() for line in found.out.splitlines()}
    assert rows["Audio"] == "1 (flac, 44.1 kHz, 2 channels)"
    document = run_here("probe", tone, "--json").object
    stored = {"index": 1, "codec": "flac", "sample_rate": 44_100, "channels": 2}
    assert document["info"]["audio"] == stored
    assert "audio" not in documents.valid(document, "probe")
    silent = run_here("probe", CLIP)
    assert ["Audio", "none"] in [line.split() for line in silent.out.splitlines()]
    refused = run_here("probe", tone, "--audio")
    assert (refused.code, refused.out) == (2, "")
    assert "the model mini takes no audio with a video" in refused.err


def test_a_model_that_takes_none_says_so(tone: Path, tmp_path: Path) -> None:
    with serving() as endpoint:
        for command in (
            ["ask", tone, "What?", "--no-server"],
            ["batch", tone, "What?", "--no-server"],
            ["ask", tone, "What?", "--server", endpoint.url],
            ["batch", tone, "What?", "--server", endpoint.url],
            ["ask", tone, "What?", "--estimate"],
        ):
            run = run_here(*command, "--audio")
            assert "--audio" in run.refusal
    assert (
        "the model mini takes no audio with a video"
        in run_here("ask", tone, "What?", "--audio", "--no-server").err
    )


@pytest.mark.parametrize(
    ("config", "stored", "rate"),
    [
        ({"audio_config": {}}, {"sampling_rate": 16000}, 16000),
        ({"audio_config": {}}, {"feature_extractor": {"sampling_rate": 24000}}, 24000),
        ({"thinker_config": {"audio_config": {}}}, {"sampling_rate": 16000}, 16000),
        ({"model_type": "gemma4", "audio_config": {}}, {"sampling_rate": 16000}, None),
        ({"sound_config": {}}, {"sampling_rate": 16000}, 16000),
        ({"audio_config": None}, {"sampling_rate": 16000}, None),
        ({}, {"sampling_rate": 16000}, None),
        ({"audio_config": {}}, {"sampling_rate": "16000"}, None),
        ({"audio_config": {}}, {"feature_extractor": None}, None),
    ],
)
def test_the_rate_is_that_of_the_feature_extractor(
    tmp_path: Path, config: object, stored: object, rate: int | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    (tmp_path / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    assert audio_rate(str(tmp_path)) == rate


@newest
@pytest.mark.slow
@pytest.mark.extended
def test_a_model_that_listens(tone: Path, tmp_path: Path) -> None:
    """A stored model: audio is on by itself, and says so; --no-audio leaves it out."""
    import torch

    model, processor = make("qwen2_5_omni", torch.float32)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    asked = ("What?", "--model", tmp_path, "--no-server", "--frames", "4", "--max-new-tokens", "4")
    heard = run_here("ask", tone, *asked, "--json").object
    documents.valid(heard, "answer")
    assert heard["audio"] == {"seconds": LENGTH_S, "sample_rate": RATE}
    probe = ("probe", tone, "--model", tmp_path, "--frames", "2")
    assert run_here(*probe, "--json").object["audio"] == heard["audio"]
    shown = " ".join(run_here(*probe).out.split())
    assert "is given 4.0 s of it, at 16 kHz" in shown
    assert "audio" not in run_here(*probe, "--json", "--no-audio").object
    part = run_here("ask", tone, *asked, "--json", "--audio", "--start", "1", "--end", "2").object
    assert part["audio"] == {"seconds": 1.0, "sample_rate": RATE}
    silent = run_here("ask", tone, *asked, "--json", "--no-audio").object
    assert "audio" not in silent
    assert silent["tokens"]["text"] < part["tokens"]["text"] < heard["tokens"]["text"]
    assert silent["tokens"]["visual"] == heard["tokens"]["visual"]
    assert "4.0 s at 16 kHz, in the prompt" in run_here("ask", tone, *asked, "--stats").err
    refused = run_here("ask", CLIP, *asked, "--audio")
    assert refused.code == 2
    assert "move.mp4 has no audio in that part of it; leave out --audio" in refused.err
    assert "audio" not in run_here("ask", CLIP, *asked, "--json").object
    [line] = run_here("batch", tone, *asked, "--quiet").objects
    assert line["audio"] == heard["audio"]
    assert line["answer"] == heard["answer"]
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"video": str(tone), "question": "What?", "answer": "x"}))
    asked = ("--model", tmp_path, "--frames", "4", "--methods", "none,dycoke", "--json")
    rows = run_here("eval", questions, *asked, "--out", tmp_path / "out").object["rows"]
    assert [row["questions"] for row in rows] == [1, 1]
    assert read(CLIP, Sampling(frames=1, audio_rate=RATE)).audio is None
