"""`dycoke tune` on the bundled model, and what ask and batch make of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.cli.flags.method_flags import MethodFlags
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.guard import tuned
from dycoke_cli.guard.bounds import videos_needed
from dycoke_cli.guard.ladder import guard_of
from dycoke_cli.guard.tuned import fingerprint, store, stored, tuning_of
from dycoke_cli.models import weight_dtype
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.settings import ENVIRONMENT
from dycoke_cli.request import Request
from dycoke_cli.version import __version__
from dycoke_cli.video import Sampling
from tests.cli.harness import run_here as run
from tests.guard.tunings import SAMPLING, SURE, tuning_with

SAMPLES = Path(__file__).parents[3] / "sample_videos"
CLIPS = [str(SAMPLES / f"{name}.mp4") for name in ("appear", "move", "turn", "vanish")]
QUESTION = "What happens in the video?"
SHORT = ("--frames", "4", "--max-new-tokens", "6")


@pytest.fixture(autouse=True)
def _settings(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "settings" / "settings.json"))


@pytest.mark.extended
@pytest.mark.slow
def test_from_clips_to_auto_to_batch(tmp_path):
    """The way of the page: tune, ask --method auto, batch --guard."""
    questions = tmp_path / "questions.txt"
    questions.write_text(f"{QUESTION}\n")
    junk = tmp_path / "junk.mp4"
    junk.write_text("not a video")
    clips = [*CLIPS, str(junk)]
    command = ["tune", *clips, "--questions", str(questions), "--out", str(tmp_path / "out")]
    command += ["--methods", "random", "--retain", "0.1,0.5", "--target", "0.5", "--json", *SHORT]
    first = run(*command)
    assert first.code == 0, first.err
    report = json.loads(first.out)
    assert len(report["videos"]) == 4
    assert report["settings"] == 2
    assert any("left out" in each and str(junk) in each for each in report["warnings"])
    assert report["ladder"] == sorted(report["ladder"], key=lambda name: "retain=0.5" in name)
    assert all(
        each["missing"] == videos_needed(each["alpha"]) - 4
        for each in report["guard"]
        if not each["on_average"]
    )
    lines = (tmp_path / "out" / "observations.jsonl").read_bytes()
    again = json.loads(run(*command).out)
    assert (tmp_path / "out" / "observations.jsonl").read_bytes() == lines  # nothing asked twice
    assert again["choice"] == report["choice"]
    asked = json.loads(run("ask", CLIPS[0], QUESTION, "--method", "auto", "--json", *SHORT).out)
    assert asked["tuned"]["videos"] == report["tuned"]["videos"]
    lines = run("batch", *CLIPS[:2], QUESTION, "--guard", "0.05", *SHORT).out.splitlines()
    for line in map(json.loads, lines):
        assert [step["method"]["name"] for step in line["guard"]["path"]] == ["none"]
        assert any("55 more videos" in warning for warning in line["warnings"])
    told = run("models", "info", "mini").out
    assert report["tuned"]["date"] in told
    assert "tuned" not in json.loads(run("ask", CLIPS[0], QUESTION, "--json", *SHORT).out)
    plain = [one for one in command if one != "--json"]
    saved = run(*plain, "--save")
    assert "answers where no --method is given" in saved.err
    assert "isn't accuracy" in " ".join(saved.out.split())
    asked = json.loads(run("ask", CLIPS[0], QUESTION, "--json", *SHORT).out)
    assert asked["tuned"]["videos"] == 4
    exported = json.loads(run(*plain, "--export").out)
    assert exported.keys() == {"dycoke"}


@pytest.mark.slow
def test_questions_that_the_model_cant_be_asked_are_refused(tmp_path):
    questions = tmp_path / "questions.txt"
    questions.write_text("Quel jour sommes-nous aujourd'hui, cher ami?\n")
    command = ["tune", *CLIPS, "--questions", str(questions), "--out", str(tmp_path / "out")]
    done = run(*command, "--methods", "evs")
    assert done.code == 2
    assert "can't be asked any of these questions; give others (--questions)" in done.err
    assert not tuned.file_of("").parent.exists()


@pytest.mark.extended
@pytest.mark.slow
def test_a_guard_climbs_until_the_answer_is_certain():
    store(tuning_with(SURE))
    done = run("ask", CLIPS[0], QUESTION, "--guard", "0.05", "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    path, threshold = answer["guard"]["path"], answer["guard"]["threshold"]
    assert [step["visual_kept"] for step in path] == [51, 128, 512][: len(path)]
    assert all(step["certainty"] < threshold for step in path[:-1])
    assert path[-1]["certainty"] is None or path[-1]["certainty"] >= threshold
    assert answer["seconds"]["prefill"] + answer["seconds"]["decode"] == pytest.approx(
        sum(step["seconds"] for step in path)
    )
    assert answer["tokens"]["visual_kept"] == path[-1]["visual_kept"]


@pytest.mark.extended
@pytest.mark.slow
def test_options_are_tuned_and_guarded_by_their_margin(tmp_path):
    """The way of the page: tune --yes-no, ask --yes-no --guard."""
    questions = tmp_path / "questions.txt"
    questions.write_text("Is there a blue star?\nIs there a red cross?\n")
    command = ["tune", *CLIPS, "--questions", str(questions), "--out", str(tmp_path / "out")]
    command += ["--methods", "random", "--retain", "0.1,0.5", "--yes-no", "--json"]
    same = ("--frames", "4", "--dtype", "float32")
    done = run(*command, *same)
    assert done.code == 0, done.err
    assert json.loads(done.out)["ladder"]
    typed = stored("mini", typed=True)
    assert stored("mini") is None
    assert typed.options == ("yes", "no")
    asked = ("ask", CLIPS[0], "Is there a blue star?", "--yes-no", "--json", *same)
    alone = json.loads(run(*asked, "--method", "random", "--retain", "0.1").out)
    scores = {one.score for video in typed.tries for question in video for one in question}
    assert alone["margin"] in [pytest.approx(score, abs=1e-5) for score in scores]
    # As if 80 videos had been measured; the threshold is below each margin of an equal answer.
    store(replace(typed, tries=SURE))
    answer = json.loads(run(*asked, "--guard", "0.05").out)
    path, threshold = answer["guard"]["path"], answer["guard"]["threshold"]
    assert path[0]["certainty"] == pytest.approx(alone["margin"], abs=1e-5)
    assert (len(path) == 1) is (path[0]["certainty"] >= threshold)
    batch = ("batch", CLIPS[0], "Is there a blue star?", "--yes-no", "--guard", "0.05", *same)
    [line] = run(*batch).out.splitlines()
    found = json.loads(line)["guard"]["path"]
    assert [step["method"] for step in found] == [step["method"] for step in path]
    assert found[0]["certainty"] == pytest.approx(path[0]["certainty"], abs=1e-5)


def test_a_saved_tuning_is_the_default_until_a_method_is_named():
    store(tuning_with(SURE, default=True))
    asked = json.loads(run("ask", CLIPS[0], QUESTION, "--json").out)
    assert asked["method"]["name"] == "random"
    assert asked["tuned"]["date"] == "2026-01-31"
    named = json.loads(run("ask", CLIPS[0], QUESTION, "--method", "evs", "--json").out)
    assert named["method"]["name"] == "evs"
    assert "tuned" not in named


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--guard", "2"], "--guard must be above 0 and below 1, not 2"),
        (["--guard", "0.1", "--method", "evs"], "leave --method evs out"),
        (["--guard", "0.1", "--guard-mean", "0.1"], "give one of them"),
        (["--guard", "0.1", "--temperature", "1"], "leave --temperature out"),
        (["--method", "auto", "--retain", "0.2"], "leave --retain out"),
        (["--guard", "0.1", "--yes-no"], "mini isn't tuned with options yet"),
        (["--guard", "0.1", "--fields", "a:str"], "--guard has no threshold for objects"),
    ],
)
def test_flags_that_contradict(flags, sentence):
    store(tuning_with(SURE))
    done = run("ask", CLIPS[0], QUESTION, *flags)
    assert done.code == 2
    assert sentence in done.err


def test_a_server_has_no_guard_of_ours():
    store(tuning_with(SURE))
    done = run("batch", CLIPS[0], QUESTION, "--guard", "0.1", "--server", "http://127.0.0.1:9/v1")
    assert done.code == 2
    assert "--guard is for a model on this machine" in done.err


def test_a_model_that_isnt_tuned():
    done = run("ask", CLIPS[0], QUESTION, "--method", "auto")
    assert done.code == 2
    assert "mini isn't tuned yet: `dycoke tune VIDEO… --model mini`" in done.err


def test_a_tuning_of_another_version_or_model_or_damaged():
    path = store(tuning_with(SURE, version="0.0.1"))
    with pytest.raises(UsageError, match=r"was tuned by dycoke 0\.0\.1, and this is"):
        tuning_of("mini")
    path.write_text(json.dumps({"version": __version__}))
    with pytest.raises(UsageError, match="isn't what `dycoke tune` wrote"):
        tuning_of("mini")
    path.unlink()
    other = store(tuning_with(SURE, fingerprint="0" * 32, model="other"))
    other.rename(path)
    with pytest.raises(UsageError, match="the tuning of another model, other"):
        stored("mini")


def test_the_fingerprint_is_that_of_configuration_and_weights(tmp_path):
    from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT

    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in BUNDLED_CHECKPOINT.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    assert fingerprint(str(copy)) == fingerprint("mini")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dycoke": {"prune_layer": 2}}))
    assert fingerprint(str(copy)) == fingerprint("mini")
    (copy / "config.json").write_text(json.dumps(config | {"image_token_index": 1}))
    assert fingerprint(str(copy)) != fingerprint("mini")
    with pytest.raises(ModelError, match="isn't on this machine"):
        fingerprint("llava-onevision-7b")


def test_a_guard_without_enough_videos_says_how_many_are_missing():
    guard, caution = guard_of(tuning_with(SURE[:40]), 0.05, on_average=False)
    assert guard.threshold is None
    assert [method.name for method in guard.steps] == ["none"]
    assert caution is not None
    assert "at least 19 more videos" in caution
    guard, caution = guard_of(tuning_with(SURE), 0.05, on_average=False)
    assert guard.threshold is not None
    assert guard.threshold > 0.5
    assert caution is None


def test_other_frames_or_another_dtype_are_warned_of():
    one = tuning_with(SURE)
    assert one.differences("auto", SAMPLING) == []
    assert "other frames" in one.differences("auto", {"frames": 8})[0]
    assert "weights in float32, not bfloat16" in one.differences("bfloat16", SAMPLING)[0]


@pytest.mark.parametrize(
    ("has", "given", "warned"),
    [
        (["avx2"], {}, None),  # tuned in float32, and auto loads it
        (["avx512_bf16"], {}, "weights in float32, not bfloat16"),
        (["avx512_bf16"], {"dtype": "float32"}, None),
        (["avx2"], {"dtype": "bfloat16"}, "weights in float32, not bfloat16"),
        (["avx2"], {"quantize": "int8"}, "weights in float32, not int8"),
    ],
)
def test_auto_counts_as_the_dtype_that_is_loaded(has, given, warned, monkeypatch):
    monkeypatch.setattr(weight_dtype, "instructions", lambda: has)
    store(tuning_with(SURE))
    request = Request(
        "mini", LoadOptions(device="cpu", **given), Sampling(), DyCoke(), GenerationOptions()
    )
    (caution,) = MethodFlags(method="auto").applied(request).cautions
    assert (f"tuned with {warned}" in caution) is (warned is not None)
    assert "other frames" in caution


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            [CLIPS[0]],
            "tune needs 4 videos or more, half to choose by and half to test on; there is "
            "1, so give 3 more",
        ),
        ([*CLIPS, "--target", "2"], "--target must be above 0 and at most 1"),
        ([*CLIPS, "--minutes", "0"], "--minutes must be above 0"),
        ([*CLIPS, "--retain", "0.1"], "--retain is for --methods"),
        ([*CLIPS, "--out", "a.jsonl"], "name a folder, as in --out a"),
        ([*CLIPS, "--questions", "nowhere.txt"], "--questions nowhere.txt can't be read"),
        ([*CLIPS, "--export", "--json"], "give one of them"),
        ([*CLIPS, "--random-weights"], "nothing to tune"),
        ([*CLIPS, "--yes-no"], "give --questions FILE, with a question per line that they answer"),
        ([*CLIPS, "--yes-no", "--score", "1-5"], "--yes-no and --score exclude each other"),
    ],
)
def test_what_tune_refuses(flags, sentence):
    done = run("tune", *flags)
    assert done.code == 2
    assert sentence in done.err + done.out


@pytest.mark.parametrize(
    ("last", "sentence"),
    [("nowhere.mp4", "nowhere.mp4 can't be read"), ("copy.mp4", "copy.mp4 has the content of")],
)
def test_too_few_videos_that_can_be_read_are_counted(tmp_path, monkeypatch, last, sentence):
    (tmp_path / "copy.mp4").write_bytes(Path(CLIPS[0]).read_bytes())
    monkeypatch.chdir(tmp_path)
    done = run("tune", *CLIPS[:3], last)
    assert done.code == 3
    assert f"3 of 4 are left: give 1 more (left out: {sentence}" in done.err


def test_the_folder_of_tunings_is_beside_the_settings(tmp_path):
    assert tuned.file_of("x") == tmp_path / "settings" / "tuned" / "x.json"
