"""The real lmms-eval asks the bundled model, and gets what `dycoke ask` and `dycoke eval` say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from tests.cli.harness import CLIP, run_here
from tests.evaluation.miniatures import put

pytest.importorskip("lmms_eval", reason="lmms-eval isn't installed (docs/evaluate.md)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.extended,
    pytest.mark.skipif(
        not entry_points(group="lmms_eval.models", name="dycoke"),
        reason="the plug-in isn't installed: pip install --no-deps --editable plugins/lmms_eval",
    ),
]

HERE = Path(__file__).parent
FRAMES = 8
LENGTH = 24
TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: {kind}
doc_to_target: answer
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
generation_kwargs: {generation}
"""
SHOWN = """
doc_to_visual: !function utils.videos
doc_to_text: !function utils.{text}
process_results: !function utils.{score}
"""
SAID = """
doc_to_text: an unused question, without which lmms-eval doesn't read a task
doc_to_messages: !function utils.messages
process_results: !function utils.exact
"""

Row = dict[str, Any]


def environment(folder: Path) -> dict[str, str]:
    """No hub is asked, nothing of the user's is touched, and no process takes all cores."""
    more = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **more, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": source_path()}


def source_path() -> str:
    here = [str(HERE.parents[2] / "src"), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(here)


class Tasks:
    """A folder of tasks, each with its rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "tasks"
        self.tasks.mkdir()
        shutil.copy(HERE / "tasks" / "utils.py", self.tasks)

    def put(
        self,
        name: str,
        rows: Iterable[Row],
        form: str = SHOWN,
        *,
        kind: str = "generate_until",
        text: str = "text",
        score: str = "exact",
        **generation: Any,
    ) -> str:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        told = {"max_new_tokens": LENGTH, **generation}
        task = TASK + form.format(text=text, score=score)
        task = task.replace("{name}", name).replace("{rows}", str(path)).replace("{kind}", kind)
        task = task.replace("{generation}", json.dumps(told))
        (self.tasks / f"{name}.yaml").write_text(task)
        return name

    def run(self, *runs: Row, launcher: tuple[str, ...] = ()) -> list[Row]:
        plan, out = self.folder / "plan.json", self.folder / "out.json"
        plan.write_text(json.dumps({"tasks": str(self.tasks), "runs": runs}))
        command = [sys.executable, *launcher, str(HERE / "driver.py"), str(plan), str(out)]
        done = subprocess.run(
            command, env=environment(self.folder), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found: list[Row] = json.loads(out.read_text())
        return found

    def answers(self, *runs: Row, launcher: tuple[str, ...] = ()) -> list[Row]:
        """Of runs that don't fail."""
        found = self.run(*runs, launcher=launcher)
        assert [one["trace"] for one in found if "error" in one] == []
        return found


def asked(task: str, arguments: str, **more: Any) -> Row:
    given = f"model=mini,frames={FRAMES},device=cpu,{arguments}"
    return {"tasks": [task], "model_args": given, **more}


def as_messages(item: Item, path: Path) -> list[Row]:
    """A question of `shapes` with those before it, as lmms-eval has conversations."""
    turns: list[Row] = []
    for question, answer in (*item.history, (item.question, "")):
        turns.append({"role": "user", "content": [{"type": "text", "text": question}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    turns[0]["content"].insert(0, {"type": "video", "url": str(path)})
    return turns[:-1]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    return Tasks(tmp_path_factory.mktemp("lmms-eval"))


@pytest.fixture(scope="module")
def clips(tasks: Tasks) -> list[str]:
    paths = [tasks.folder / f"{colour}.mp4" for colour in ("blue", "red")]
    for path in paths:
        put(path, path.stem)
    return [str(path) for path in paths]


def test_answers_and_scores_are_those_of_eval(tasks: Tasks, tmp_path: Path) -> None:
    """Of two methods, last question first."""
    shapes = Shapes()
    in_turns = shapes.items("test", 1)[::-1]
    name = tasks.put(
        "shapes",
        [{"answer": i.answer, "messages": as_messages(i, shapes.file(i.video))} for i in in_turns],
        SAID,
    )
    methods = ["none", "dycoke:merge_ratio=0.8"]
    plain, merged = tasks.answers(*(asked(name, f"method={method}") for method in methods))
    done = run_here(
        *("eval", "shapes", "--limit", "1", "--split", "test", "--methods", ",".join(methods)),
        *("--model", "mini", "--frames", str(FRAMES), "--max-tokens", str(LENGTH)),
        *("--device", "cpu"),
        *("--batch-size", "1", "--workers", "1", "--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    setups = {line["about"]["method"]["name"]: line["setup"] for line in lines if "about" in line}
    for found, method in ((plain, "none"), (merged, "dycoke")):
        of_eval = {
            line["item"]: line
            for line in lines
            if line["setup"] == setups[method] and "item" in line
        }
        expected = [of_eval[item.id] for item in in_turns]
        assert found["answers"] == [line["said"] for line in expected]
        assert found["scores"] == [float(line["right"]) for line in expected]
        assert 0 < found["score"] == sum(found["scores"]) / len(in_turns)
        assert found["encoded"] == 1  # video, not questions
        kept = [line["visual_kept"] for line in expected]
        assert found["throughput"]["avg_visual_tokens_kept"] == sum(kept) / len(kept)
    visual = lines[1]["visual"]
    assert plain["throughput"]["avg_visual_tokens"] == visual
    assert plain["throughput"]["avg_visual_tokens_kept"] == visual
    # The method acts: fewer tokens are read of the same prompts.
    assert merged["throughput"]["avg_visual_tokens_kept"] < 0.7 * visual
    for all_, fewer in zip(plain["tokens"], merged["tokens"], strict=True):
        assert fewer["input_tokens"] < all_["input_tokens"] - 0.3 * visual


def test_answers_are_those_of_ask(tasks: Tasks, clips: list[str]) -> None:
    """Of a whole video, of a part of it, without one, cut at `until`; alone and in a batch."""
    question = "What happens?"
    row = {"answer": "", "rounds": 3, "question": question}
    whole = [{**row, "video": clip} for clip in clips]
    part = {"type": "video", "video_start": 0.5, "video_end": 1.25, "url": clips[0]}
    names = [
        tasks.put("whole", whole),
        tasks.put("part", [{**row, "video": part}]),
        tasks.put("blind", [{**row, "video": None}]),
        tasks.put("until", whole, until=["star", "happens"]),
        tasks.put("short", whole, max_new_tokens=2),
        tasks.put("drawn", whole, do_sample=True, temperature=0.9),
    ]
    whole_, part_, blind, until, short, drawn, batch, no_video = tasks.answers(
        *(asked(name, "method=dycoke,merge_ratio=0.8,seed=5") for name in names),
        asked("whole", "method=dycoke,merge_ratio=0.8", batch_size="auto"),
        asked("whole", "method=no-video", batch_size=4),
    )
    flags = ["--method", "dycoke", "--merge-ratio", "0.8", "--frames", str(FRAMES)]
    flags += ["--device", "cpu", "--model", "mini", "--json"]

    def ask(clip: str, *more: Any) -> Row:
        length = () if "--max-tokens" in more else ("--max-tokens", LENGTH)
        return run_here("ask", clip, question, *flags, *map(str, (*length, *more))).object

    first, second = ask(clips[0]), ask(clips[1])
    assert whole_["answers"] == [first["answer"], second["answer"]] == batch["answers"]
    assert whole_["tokens"] == [
        {
            "input_tokens": one["tokens"]["text"] + one["tokens"]["visual_kept"],
            "output_tokens": one["tokens"]["generated"],
        }
        for one in (first, second)
    ]
    assert first["tokens"]["visual_kept"] < first["tokens"]["visual"]
    of_part = ask(clips[0], "--start", 0.5, "--end", 1.25)
    assert of_part["frames"]["timestamps_s"][0] == 0.5
    assert part_["answers"] == [of_part["answer"]]
    assert part_["tokens"][0]["output_tokens"] == of_part["tokens"]["generated"]
    assert until["answers"] == [one["answer"].partition("star")[0] for one in (first, second)]
    assert "star" in first["answer"]
    assert short["answers"][0] == ask(clips[0], "--max-tokens", 2)["answer"]
    assert drawn["answers"][0] == ask(clips[0], "--temperature", 0.9, "--seed", 5)["answer"]
    assert len(set(no_video["answers"])) == 1
    assert no_video["answers"][0] == blind["answers"][0]
    assert no_video["throughput"]["avg_visual_tokens"] == 0


def test_several_rounds(tasks: Tasks, clips: list[str]) -> None:
    """Each is asked of those that have it, with what was answered before."""
    rows = [
        {"video": clip, "question": "What happens?", "answer": "", "rounds": count}
        for clip, count in zip(clips, (1, 3), strict=True)
    ]
    name = tasks.put(
        "rounds", rows, kind="generate_until_multi_round", text="rounds", score="nothing"
    )
    questions = ["What happens?", "What happens? 1 1", "What happens? 2 2"]
    alone = tasks.put(
        "alone", [{"video": clips[1], "question": one, "answer": ""} for one in questions]
    )
    several, single = tasks.answers(asked(name, "method=none"), asked(alone, "method=none"))
    assert several["answers"][1] == single["answers"]
    assert len(several["answers"][0]) == 1


def test_what_is_refused_names_task_and_question(tasks: Tasks, clips: list[str]) -> None:
    video, missing = clips[0], str(tasks.folder / "missing.mp4")
    broken = tasks.folder / "broken.mp4"
    broken.write_bytes(b"no video")

    def shown(*videos: Any) -> list[Row]:
        return [{"video": one, "question": "What happens?", "answer": ""} for one in videos]

    one = {"type": "text", "text": "What happens?"}
    system = [{"role": "system", "content": [one]}, {"role": "user", "content": [one]}]
    runs = [
        (tasks.put("missing", shown(video, missing)), "missing, question 1:", "missing.mp4"),
        (tasks.put("broken", shown(video, str(broken))), "broken, question 1:", "broken.mp4"),
        (tasks.put("image", shown("a.png")), "image, question 0:", "the task has an image"),
        (
            tasks.put("system", [{"messages": system, "answer": ""}], SAID),
            "system, question 0:",
            "the task has system, user",
        ),
        (tasks.put("beams", shown(video), num_beams=4), "beams, question 0:", "num_beams=4 isn't"),
    ]
    found = tasks.run(
        *(asked(name, "method=none") for name, _, _ in runs),
        asked("image", "methd=none"),
        asked("image", "method=none", batch_size="auto:4"),
        asked("image", "method=none", device="cpu"),
        asked("image", "prune_layer=99"),
    )
    for result, (_, where, sentence) in zip(found, runs, strict=False):
        assert result["error"].startswith(where)
        assert sentence in result["error"]
    errors = [result["error"] for result in found[len(runs) :]]
    assert "did you mean method?" in errors[0]
    assert "--batch_size must be auto, or 1 or more, not 'auto:4'" in errors[1]
    assert "device is a flag, --device, here" in errors[2]
    assert "prune_layer must be from" in errors[3]


def test_two_processes_share_the_questions(tasks: Tasks, clips: list[str]) -> None:
    """An odd number, so that one of them has nothing to do at the end."""
    questions = ("What happens?", "What does the star do?", "What colour is the star?")
    rows = [
        {"video": clip, "question": question, "answer": "The blue star moves right."}
        for question in questions
        for clip in clips
    ][:5]
    name = tasks.put("shared", rows)
    run = {"tasks": [name], "model_args": f"model=mini,frames={FRAMES},method=none"}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    (shared,) = tasks.answers(run, launcher=launcher)
    (alone,) = tasks.answers(run)
    assert shared["answers"] == alone["answers"]
    assert shared["score"] == alone["score"]
    assert alone["encoded"] == 2  # videos, whose questions come in turns
    assert len(alone["answers"]) == len(rows)


SURE = "What does the blue star do? Does the blue star move left, or does it move right?"
CHOICES = ("The blue star moves right.", "The blue star moves left.")
LETTERED = "\n".join(f"({letter}) {text}" for letter, text in zip("AB", CHOICES, strict=True))
DOTTED = "\n".join(f"{letter}. {text}" for letter, text in zip("AB", CHOICES, strict=True))
# So many words that the bundled model knows that it doesn't refuse the long prompt around them.
CAPTION = (
    "blue circle cross green orange purple red square star triangle yellow bounces enters grows "
    "happens hides hits leaves moves shrinks spins starts stays turns top bottom middle left right "
    "side scene scenes picture card letter digit colour shape shapes object objects event events "
    "order direction next first last three four five six two look tell describe show shown nothing "
    "start end begin behind before after anna ben cleo dan moving written option choices answer"
)
LONG_TASKS = {  # file of the task, where its videos are, a row, and the prompt by its own rule
    "mlvu_dev": (
        "mlvu/mlvu_dev.yaml",
        "mlvu",
        {"video_name": "{}", "question": SURE, "answer": "A", "task_type": "needle"},
        f"{SURE}\nOnly give the best option.\nBest option: (",
    ),
    "lvbench": (
        "lvbench/lvbench.yaml",
        "lvbench",
        {"video_path": "{}", "question": SURE, "options": [*CHOICES], "answer": "A"},
        f"{SURE}\n{LETTERED}\nAnswer the question with the option letter",
    ),
    "longvideobench_val_v": (
        "longvideobench/longvideobench_val_v.yaml",
        "datasets/longvideobench/videos",
        {
            "video_path": "{}", "question": SURE, "correct_choice": 0, "id": "1",
            "option0": CHOICES[0], "option1": CHOICES[1], "option2": "N/A", "option3": "N/A",
            "option4": "N/A", "duration_group": 60, "question_category": "S2E",
        },
        f"{SURE}\n{DOTTED}\nAnswer with the option's letter from the given choices directly.\n",
    ),
    "longtimescope": (
        "longtimescope/longtimescope.yaml",
        "longtimescope",
        {"video": "{}", "input": SURE, "answer": "A", "type": "QA", "length": 60, "id": 1},
        SURE,
    ),
    "temporal_grounding_charades": (
        "charades_sta/charades.yaml",
        "charades_sta/Charades_v1_480",
        {"video": "{}", "caption": CAPTION, "timestamp": [0.0, 2.0]},
        None,  # ten lines of its own
    ),
}  # fmt: skip
IMPORTS = {"longvideobench_val_v": "decord"}


@pytest.fixture(scope="module")
def long_tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What each gives, of two rows in the form of its data; their videos are two windows long."""
    spec = find_spec("lmms_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    of_lmms_eval = Path(spec.submodule_search_locations[0]) / "tasks"
    tasks, runs = Tasks(tmp_path_factory.mktemp("long")), []
    for task, (file, folder, row, _) in LONG_TASKS.items():
        if find_spec(IMPORTS.get(task, "json")) is None:
            continue
        videos = tasks.folder / "hub" / folder
        videos.mkdir(parents=True)
        lines = []
        for name in ("a.mp4", "b.mp4"):
            shutil.copy(CLIP, videos / name)
            lines.append({key: name if value == "{}" else value for key, value in row.items()})
        rows = tasks.folder / f"{task}.jsonl"
        rows.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (tasks.tasks / f"{task}.yaml").write_text(
            f"include: {of_lmms_eval / file}\ntask: {task}\ntest_split: test\n"
            f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {rows}\n"
        )
        given = "model=mini,method=dycoke-plus,fps=10,video_tokens=60"
        runs.append({"tasks": [task], "model_args": given, "device": "cpu"})
    return {run["tasks"][0]: found for run, found in zip(runs, tasks.answers(*runs), strict=True)}


@pytest.mark.parametrize("task", LONG_TASKS)
def test_long_tasks_of_lmms_eval_run_in_windows(task: str, long_tasks: dict[str, Row]) -> None:
    """By their own prompts and scores; of 40 frames 60 tokens are read, and answers are ask's."""
    if task not in long_tasks:
        pytest.skip(f"the task imports {IMPORTS[task]}, which isn't installed")
    found, prompt = long_tasks[task], LONG_TASKS[task][-1]
    assert len(found["answers"]) == 2
    assert found["metrics"]
    assert found["throughput"]["avg_visual_tokens"] == 40 * 16
    assert found["throughput"]["avg_visual_tokens_kept"] == 60
    if prompt is None:
        return
    longest = {"longvideobench_val_v": 32}.get(task, 16)
    flags = ("--fps", "10", "--video-tokens", "60", "--max-tokens", str(longest), "--json")
    given = ("--method", "dycoke-plus", "--model", "mini", "--device", "cpu", *flags)
    assert found["answers"] == [run_here("ask", CLIP, "-q", prompt, *given).object["answer"]] * 2


def test_the_command_line_finds_the_plugin(tasks: Tasks, clips: list[str]) -> None:
    name = tasks.put("command", [{"video": clips[0], "question": "What happens?", "answer": ""}])
    out = tasks.folder / "results"
    given = f"model=mini,frames={FRAMES},method=dycoke:merge_ratio=0.8"
    command = ["-m", "lmms_eval", "--model", "dycoke", "--model_args", given, "--tasks", name]
    command += ["--include_path", str(tasks.tasks), "--log_samples", "--output_path", str(out)]
    subprocess.run(
        [sys.executable, *command, "--device", "cpu"],
        env=environment(tasks.folder),
        capture_output=True,
        check=True,
    )
    (samples,) = out.glob("*/*_samples_command.jsonl")
    (result,) = out.glob("*/*_results.json")
    (found,) = tasks.answers(asked(name, "method=dycoke,merge_ratio=0.8"))
    sample = json.loads(samples.read_text())
    assert sample["filtered_resps"] == found["answers"][0]
    assert json.loads(result.read_text())["throughput"]["avg_visual_tokens_kept"] < 128
