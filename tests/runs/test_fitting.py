"""`--fit`: choices for real models' sizes, each checked by an estimate of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory import cost_model, kernel_rates
from dycoke_cli.engine.memory.cost import Cost, clip_tokens, estimate_cost
from dycoke_cli.engine.memory.expected_time import Rates, StageTimes, write_stage_times
from dycoke_cli.engine.memory.fit import SECONDS_RESERVE, Budget
from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import find
from dycoke_cli.models.free_memory import Target
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs import fitting as module
from dycoke_cli.runs.fitting import AskedFrames, Fitting, fitting
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video import Sampling

GB = 10**9
ASKED, HD = AskedFrames(32, 384, 384), AskedFrames(32, 720, 1280)
RATES = Rates(
    call=1e-6, layers=10, vision_layers=4, patch=1e-4, patch_pair=0.0, token=1e-4, score=1e-9,
    block=256, logits=0.0, step=1e-3, attended=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is timed, and no other package is asked for."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    monkeypatch.setattr(kernel_rates, "MEASURING_S", -1.0)
    monkeypatch.setattr(module, "find_spec", lambda name: name)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of a model takes what `RATES` says, whatever its weights."""
    facts = cost_model.model_facts
    monkeypatch.setattr(cost_model, "model_facts", lambda *of: replace(facts(*of), rates=RATES))


def asked_of(name: str, **options: Any) -> Request:
    given: dict[str, Any] = {"loading": LoadOptions(), "sampling": Sampling(), "method": DyCoke()}
    return Request(name, generation=GenerationOptions(), **(given | options))


def planned(
    name: str,
    budget: Budget,
    asked: AskedFrames = ASKED,
    *,
    free_method: bool = True,
    memory: int = 100 * GB,
    **options: Any,
) -> Fitting:
    request = asked_of(name, **options)
    return fitting(request, budget, asked, free_method=free_method, memory=memory)


def estimated(request: Request, memory: int, frames: int = 32) -> Cost:
    """The cost of a request as `--estimate` has it."""
    source, device = find(request.model), request.loading.device
    target = Target("cpu" if device == "auto" else device, memory)
    clip = clip_tokens(source, frames, ASKED.height, ASKED.width)
    options = (request.method, request.loading, request.generation.max_new_tokens, target)
    return estimate_cost(source, clip, *options, frame_bytes=384 * 384 * 3)


def test_with_enough_memory_nothing_is_reduced() -> None:
    given = planned("llava-onevision-7b", Budget(80 * GB), loading=LoadOptions("cuda"))
    choice = given.choice()
    assert (choice.frames, choice.setting.method) == (32, Method())
    assert given.applied(choice).sampling == Sampling()
    assert given.applied(choice).loading.quantize is None
    assert "nothing has to be reduced" in given.report(choice).reason


@pytest.mark.parametrize("size", [7.7, 8, 9, 12, 17, 18])
def test_a_choice_fits_by_an_estimate_of_its_own(size: float) -> None:
    given = planned("llava-onevision-7b", Budget(int(size * GB)), loading=LoadOptions("cuda"))
    choice = given.choice()
    request = given.applied(choice)
    cost = estimated(request, int(size * GB), choice.frames)
    assert cost.fits == "gpu"
    assert cost.bytes.peak + cost.bytes.reserve == choice.costs.bytes <= int(size * GB)
    # Something was reduced, so that without it the budget would be exceeded.
    assert estimated(asked_of("llava-onevision-7b", loading=LoadOptions("cuda"), method=Method()),
                     int(size * GB)).fits == "no"  # fmt: skip
    reason = given.report(choice).reason
    assert reason.startswith(f"--fit {size:g}GB: ")
    assert "32 frames, baseline" in reason


def test_smaller_weights_come_before_fewer_frames() -> None:
    choice = planned("llava-onevision-7b", Budget(8 * GB), loading=LoadOptions("cuda")).choice()
    assert choice.setting.loading.quantize == "int4"
    assert choice.frames == 32


def test_what_flags_set_stays() -> None:
    method, loading = EVS(retain=0.9), LoadOptions("cuda", quantize="int8")
    given = planned(
        "llava-onevision-7b", Budget(11 * GB), free_method=False, method=method, loading=loading
    )
    request = given.applied(given.choice())
    assert request.method == method
    assert request.loading.quantize == "int8"
    assert request.sampling.frames < 32


def test_by_rate_the_most_frames_are_chosen() -> None:
    given = planned(
        "llava-onevision-7b", Budget(11 * GB), free_method=False, method=Method(),
        loading=LoadOptions("cuda", quantize="int8"), sampling=Sampling(fps=2.0),
    )  # fmt: skip
    choice = given.choice()
    assert given.applied(choice).sampling == Sampling(fps=2.0, max_frames=choice.frames)


def test_no_package_for_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    given = planned("llava-onevision-7b", Budget(18 * GB), loading=LoadOptions("cpu"))
    assert {one.quantize for one in given.models} == {None, "int8"}
    given = planned("llava-onevision-7b", Budget(18 * GB), loading=LoadOptions("cuda"))
    assert {one.quantize for one in given.models} == {None}


def test_a_budget_of_memory_that_cannot_be_kept() -> None:
    given = planned("llava-onevision-7b", Budget(4 * GB), loading=LoadOptions("cuda"))
    with pytest.raises(UsageError, match="--fit 4GB is too little for llava-onevision-7b") as error:
        given.choice()
    assert "or --model llava-onevision-0.5b" in str(error.value)
    size = str(error.value).partition("use --fit ")[2].partition("GB")[0]
    enough = planned("llava-onevision-7b", Budget(int(float(size) * GB)),
                     loading=LoadOptions("cuda"))  # fmt: skip
    assert enough.choice().frames >= 1


def test_memory_that_is_not_free() -> None:
    given = planned(
        "llava-onevision-7b", Budget(8 * GB), memory=5 * GB, loading=LoadOptions("cuda")
    )
    with pytest.raises(UsageError, match=r"llava-onevision-7b needs .*, and 5 GB are free"):
        given.choice()


def test_seconds_that_are_not_predicted() -> None:
    given = planned("llava-onevision-7b", Budget(seconds=20), loading=LoadOptions("cuda"))
    with pytest.raises(UsageError, match="predicted for this machine's CPU alone"):
        given.choice()


@pytest.mark.usefixtures("timed")
def test_a_budget_of_seconds() -> None:
    given = planned("mini", Budget(seconds=0.4))
    choice = given.choice()
    cost = estimated(given.applied(choice), 100 * GB, choice.frames)
    assert cost.seconds is not None
    assert cost.seconds.total == pytest.approx(choice.costs.seconds)
    assert 0.4 / 1.5 < choice.costs.seconds * SECONDS_RESERVE <= 0.4
    assert choice.frames < 32
    assert not given.report(choice).measured
    with pytest.raises(UsageError, match=r"--fit 0\.01s is too short for mini") as error:
        planned("mini", Budget(seconds=0.01)).choice()
    seconds = float(str(error.value).partition("use --fit ")[2].partition("s")[0])
    assert planned("mini", Budget(seconds=seconds)).choice().frames == 1


def test_smaller_frames_where_resolution_is_dynamic() -> None:
    given = planned("qwen2.5-vl-3b", Budget(80 * GB), HD, loading=LoadOptions("cuda"))
    sizes = {one.max_pixels: given.tokens(32, one.max_pixels) for one in given.settings}
    whole = sizes.pop(None)
    assert len(sizes) == 2
    for pixels, clip in sizes.items():
        assert clip.per_frame * 28**2 == pytest.approx(pixels, rel=0.15)
        assert clip.per_frame < whole.per_frame
        scaled = HD.within(pixels)
        assert clip == clip_tokens(find("qwen2.5-vl-3b"), 32, *scaled[::-1])
    fixed = planned("llava-onevision-0.5b", Budget(80 * GB))
    assert {one.max_pixels for one in fixed.settings} == {None}


@pytest.mark.usefixtures("timed")
def test_a_tower_that_is_slow_gets_smaller_frames_before_half_of_them() -> None:
    whole = planned("qwen2.5-vl-3b", Budget(seconds=10**6), HD)
    seconds = whole.choice().costs.seconds
    assert seconds is not None
    given = planned("qwen2.5-vl-3b", Budget(seconds=0.6 * seconds), HD)
    choice = given.choice()
    assert choice.setting.max_pixels is not None
    assert given.applied(choice).sampling.max_pixels == choice.setting.max_pixels
    width, height = HD.within(choice.setting.max_pixels)
    assert f"of {width}×{height}," in given.report(choice).reason


@pytest.mark.usefixtures("timed")
def test_measured_stages_correct_the_seconds() -> None:
    given = planned("mini", Budget(seconds=0.8))
    before = given.choice().frames
    setting = given.settings[0]
    model = given.models[setting.loading]
    slow = StageTimes(
        frames=8, patches=16, patches_together=64, tokens=200, chunk_len=200, steps=10,
        vision_s=2 * (RATES.vision(8, 16, 64) or 0), prefill_s=2 * RATES.prefill(200, 200),
        decode_s=2 * RATES.decode(10, 205), selection_s=0.05, visual=128,
    )  # fmt: skip
    write_stage_times(model.stage_times_file, slow)
    again = planned("mini", Budget(seconds=0.8))
    of_all, corrected = given.costs(setting, 8), again.costs(setting, 8)
    assert of_all is not None
    assert corrected is not None
    assert of_all.seconds is not None
    assert corrected.seconds == pytest.approx(2 * of_all.seconds)
    plus = next(one for one in given.settings if one.method.name == "dycoke-plus")
    of_all, corrected = given.costs(plus, 8), again.costs(plus, 8)
    assert of_all is not None
    assert corrected is not None
    assert of_all.stages is not None
    assert corrected.stages is not None
    assert corrected.stages.prefill == pytest.approx(
        2 * of_all.stages.prefill + 0.05
    )  # of 128 tokens
    assert again.choice().frames < before
    assert again.report(again.choice()).measured


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("timed")
def test_the_model_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_overloaded", lambda: False)
    notes: list[str] = []

    class Notes(Listener):
        def note(self, sentence: str) -> None:
            notes.append(sentence)

    given = planned("mini", Budget(seconds=3600))
    request, loaded = given.fitted(Notes())
    assert loaded is not None
    assert loaded.dtype == request.loading.dtype
    assert [one for one in given.models.values() if one.stage_times is not None]
    assert planned("mini", Budget(seconds=3600)).fitted(Notes())[1] is None
    assert [note.partition(":")[0] for note in notes] == ["--fit 3600s"] * 2


def test_a_busy_machine_times_nothing(monkeypatch: pytest.MonkeyPatch, timed: None) -> None:
    monkeypatch.setattr(module, "is_overloaded", lambda: True)
    given = planned("mini", Budget(seconds=3600))
    assert given.fitted(Listener())[1] is None
    assert all(one.stage_times is None for one in given.models.values())


def test_passes_on_a_gpu_keep_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(module, "keep_within", kept.append)
    planned("mini", Budget(GB)).fitted(Listener())  # on a CPU, which has none to set
    given = planned("llava-onevision-7b", Budget(11 * GB), loading=LoadOptions("cuda"))
    given.fitted(Listener())
    assert kept == [11 * GB - 600_000_000]  # what CUDA takes itself isn't torch's


def test_tokens_that_are_not_known_beforehand() -> None:
    with pytest.raises(UsageError, match="leave out --subtitles"):
        planned("mini", Budget(GB), subtitles="auto")
    with pytest.raises(UsageError, match="leave out --audio"):
        planned("mini", Budget(GB), sampling=Sampling(audio=True))


def test_the_kv_cache_is_never_pruned() -> None:
    assert not any(method.parameters().get("kv_prune") for method, _ in module.METHODS)
