"""The bundled model in vLLM: the answers of dycoke, by every method that an engine can serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM isn't installed: tests/environment.py installs it")

import mini_engine as engine
from mini_engine import Asked
from own_answers import FRAMES, PER_FRAME, TOKENS, OwnAnswers, specs

from benchmarks.serving.checkpoints import export


class Served:
    """An engine, and dycoke's own answers."""

    def __init__(self, folder: Path, own: OwnAnswers) -> None:
        from transformers import AutoProcessor

        self.engine = engine.start(export(folder))
        self.processor = AutoProcessor.from_pretrained(folder)
        self.own, self.questions, self.clips = own, own.questions, own.clips
        self.expected = own.expected

    def answers(self, asked: list[Asked], **sampling: Any) -> list[tuple[str, int]]:
        frames = {video: clip.frames for video, clip in self.clips.items()}
        return engine.answers(self.engine, self.processor, frames, asked, **sampling)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, own: OwnAnswers) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("model") / "mini", own)
    yield served
    engine.stop(served.engine)


def test_answers_of_every_method_in_mixed_batches(served: Served) -> None:
    assert len([*specs()]) >= 12
    asked = served.own.every()
    answered = dict(zip(asked, served.answers(asked), strict=True))
    assert not served.own.wrong(answered)
    lengths = {one.method: got[1] for one, got in answered.items() if one.video == asked[0].video}
    assert len(set(lengths.values())) > 3, "the methods keep different numbers of tokens"


def test_caches_keep_the_methods_apart(served: Served) -> None:
    """Prefixes and encoded videos are cached by what is in a request."""
    video, question = served.questions[0]
    asked = [Asked(video, question, spec) for spec in ("none", "evs", "dycoke-plus", "evs", "none")]
    # One by one, so that each finds what those before it have left.
    found = [served.answers([one])[0] for one in (*asked, *asked)]
    assert found == [served.expected(one) for one in (*asked, *asked)]


def test_the_hash_of_a_video_has_its_method_in_it(served: Served) -> None:
    from vllm.multimodal import MULTIMODAL_REGISTRY

    processor = MULTIMODAL_REGISTRY.create_processor(served.engine.llm_engine.model_config)
    video, question = served.questions[0]
    prompt = engine.token_ids(served.processor, question)
    hashes = []
    for spec in ("none", "evs", "dycoke-plus", "evs:retain=0.5", "evs"):
        items = processor.info.parse_mm_data({"video": served.clips[video].frames})
        made = processor(prompt, items, hf_processor_mm_kwargs={"dycoke": spec})
        hashes += made["mm_hashes"]["video"]
    assert hashes[1] == hashes[4]
    assert len(set(hashes)) == 4


def test_an_identifier_of_the_client_keeps_them_apart_too(served: Served) -> None:
    from vllm import SamplingParams

    video, question = served.questions[0]
    counts = {}
    for spec in ("none", "evs"):
        [output] = served.engine.generate(
            {
                "prompt_token_ids": engine.token_ids(served.processor, question),
                "multi_modal_data": {"video": served.clips[video].frames},
                "multi_modal_uuids": {"video": ["clip"]},
                "mm_processor_kwargs": {"dycoke": spec},
            },
            SamplingParams(temperature=0, max_tokens=TOKENS),
            use_tqdm=False,
        )
        text = served.processor.tokenizer.decode(
            output.outputs[0].token_ids, skip_special_tokens=True
        )
        assert text == served.expected(Asked(video, question, spec))[0]
        counts[spec] = len(output.prompt_token_ids)
    assert counts["none"] - counts["evs"] == FRAMES * PER_FRAME * 3 // 4


def test_without_a_method_nothing_is_dropped(served: Served) -> None:
    from vllm import SamplingParams

    video, question = served.questions[0]
    [output] = served.engine.generate(
        {
            "prompt_token_ids": engine.token_ids(served.processor, question),
            "multi_modal_data": {"video": served.clips[video].frames},
        },
        SamplingParams(temperature=0, max_tokens=1),
        use_tqdm=False,
    )
    assert len(output.prompt_token_ids) == served.expected(Asked(video, question, "none"))[1]


def test_videos_of_other_lengths_and_several_in_one_prompt(served: Served) -> None:
    """Each is compressed by itself, as a session does; a newline is behind each."""
    from vllm import SamplingParams

    first, second = (served.clips[video].frames for video in sorted(served.clips)[:2])
    asked = [([first[:1]], 4 + 1), ([first[:5]], 20 + 1), ([first[:5], second], 20 + 1 + 128 + 1)]
    prompt = engine.token_ids(served.processor, "What happens?")
    place = prompt.index(served.own.loaded.model.config.video_token_id)
    outputs = served.engine.generate(
        [
            {
                "prompt_token_ids": prompt[:place]
                + [prompt[place]] * (len(videos) - 1)
                + prompt[place:],
                "multi_modal_data": {"video": videos},
                "mm_processor_kwargs": {"dycoke": "dart:retain=0.25"},
            }
            for videos, _ in asked
        ],
        SamplingParams(temperature=0, max_tokens=4),
        use_tqdm=False,
    )
    for output, (_, visual) in zip(outputs, asked, strict=True):
        assert len(output.prompt_token_ids) == len(prompt) - 1 + visual


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("evss", "did you mean evs?"),
        ("evs:retain=2", "retain must be above 0"),
        ("fastv", "drops tokens between the layers"),
        (5, "must be a text"),
    ],
)
def test_a_refusal_is_one_sentence_and_the_engine_lives(
    served: Served, spec: Any, sentence: str
) -> None:
    video, question = served.questions[0]
    with pytest.raises(ValueError, match=r"mm_processor_kwargs\.dycoke") as refused:
        served.answers([Asked(video, question, spec)])
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    asked = Asked(video, question, "evs")
    assert served.answers([asked]) == [served.expected(asked)]
