"""Each benchmark in small: annotations made up in its native layout, and rendered clips.

`make(name, folder)` fills a folder with a benchmark of `DATASETS`; all have two videos or more, and
the first question is about a blue star that moves right.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from dycoke_cli.evaluation.dataset import Dataset, Item
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.shapes.recording import Recording, write_clip
from dycoke_cli.shapes.script import Camera, Event, Scene, Script, Thing
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling

SECONDS = 2.0
COLOURS = ["blue", "red", "green", "yellow", "purple"]

Rows = list[dict[str, Any]]


@cache
def clip(colour: str = "blue", suffix: str = ".mp4") -> bytes:
    """A video of two seconds: a star of a colour moves right."""
    script = Script(
        things=(Thing("star", colour, 0.1, (0, 1), (0.0, 0.0), 0),),
        events=(Event("move", 0.1, 0.9, 0, "right", (2, 1)),),
        scenes=(Scene(0.0, 1.0, "white", "plain", 0.0, 0),),
        camera=Camera((0.0, 0.0), 0.0, 0.0, 23),
        label="dynamic",
        seconds=SECONDS,
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        write_clip(script, Recording(fps=8, side=96), path)
        return path.read_bytes()


def put(path: Path, colour: str = "blue") -> None:
    """Put a clip there; its suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(clip(colour, path.suffix.lower()))


def put_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def csv_of(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def put_csv(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(csv_of(rows))


def put_parquet(path: Path, rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def nextqa_rows() -> Rows:
    asked = [("4010069381", 0, "TN"), ("4010069381", 1, "DL"), ("2574374895", 0, "CW")]
    options = {f"a{i}": colour for i, colour in enumerate(COLOURS)}
    size = {"frame_count": 16, "width": 96, "height": 96}
    return [
        {"video": video, **size, "question": "what colour is the star", "answer": i % 2, "qid": qid,
         "type": kind, **options}
        for i, (video, qid, kind) in enumerate(asked)
    ]  # fmt: skip


def nextqa(folder: Path) -> None:
    put_csv(folder / "test.csv", nextqa_rows())
    put_json(folder / "map_vid_vidorID.json", {"4010069381": "1164/4010069381"})
    put(folder / "NExTVideo" / "1164" / "4010069381.mp4")
    put(folder / "NExTVideo" / "0001" / "2574374895.mp4", "red")


def activitynet_rows() -> tuple[Rows, Rows]:
    told = [("abc_1", "blue", 4), ("abc_2", "yes", 3), ("d-eg_1", "moving right", 0)]
    asked = ["what is the color of the star", "is there a star", "what is the star doing"]
    questions = [
        {"video_name": name.rpartition("_")[0], "question": text, "question_id": f"v_{name}"}
        for (name, _, _), text in zip(told, asked, strict=True)
    ]
    answers = [{"answer": a, "type": kind, "question_id": f"v_{name}"} for name, a, kind in told]
    return questions, answers


def activitynetqa(folder: Path) -> None:
    questions, answers = activitynet_rows()
    put_json(folder / "dataset" / "test_q.json", questions)
    put_json(folder / "dataset" / "test_a.json", answers)
    put(folder / "all_test" / "v_abc.mp4")
    put(folder / "all_test" / "d-eg.mkv", "red")


def perception_videos() -> dict[str, Any]:
    def question(number: int, area: str, reasoning: str) -> dict[str, Any]:
        return {
            "id": number, "question": "What colour is the star?", "options": COLOURS[:3],
            "answer_id": number, "area": area, "reasoning": reasoning, "tag": ["colour"],
        }  # fmt: skip

    return {
        "video_10": {
            "mc_question": [
                question(0, "semantics", "descriptive"),
                question(1, "physics", "predictive"),
            ]
        },
        "video_13": {"mc_question": [question(0, "semantics", "descriptive")]},
        "video_12": {"mc_question": []},
    }


def perceptiontest(folder: Path) -> None:
    put_json(folder / "mc_question_valid.json", perception_videos())
    put(folder / "videos" / "video_10.mp4")
    put(folder / "videos" / "video_13.MP4", "red")


def videomme_rows() -> Rows:
    asked = [("001", "fFjv93ACGo8", "short", 1), ("001", "fFjv93ACGo8", "short", 2),
             ("301", "N1cdUjctpG8", "medium", 1)]  # fmt: skip
    return [
        {
            "video_id": number, "duration": duration, "domain": "Knowledge",
            "sub_category": "Geography", "url": f"https://www.youtube.com/watch?v={video}",
            "videoID": video, "question_id": f"{number}-{n}", "task_type": "Attribute Perception",
            "question": "What colour is the star?",
            "options": ["A. Blue.", "B. Red.", "C. Green.", "D. Yellow."],
            "answer": "A" if n == 1 else "B",
        }
        for number, video, duration, n in asked
    ]  # fmt: skip


SRT = """\
1
00:00:00,000 --> 00:00:00,500
<font color="white" size=".72c">It begins.</font>

2
00:00:00,510 --> 00:00:00,520
<font color="white" size=".72c">Between two frames.</font>

3
00:00:01,000 --> 00:00:01,900
<font color="white" size=".72c">It goes on,</font>
and on.
"""


def videomme(folder: Path) -> None:
    put_parquet(folder / "videomme" / "test-00000-of-00001.parquet", videomme_rows())
    put(folder / "data" / "fFjv93ACGo8.mp4")
    put(folder / "data" / "N1cdUjctpG8.mp4", "red")
    (folder / "subtitle").mkdir()
    (folder / "subtitle" / "fFjv93ACGo8.srt").write_text(SRT, encoding="utf-8")


def videodc_rows() -> Rows:
    text = "A blue star moves to the right of a white picture."
    return [
        {"video_name": name, "question": "Describe the video in detail.", "answer": text}
        for name in ("v_abc", "v_ghi")
    ]


def videodc(folder: Path) -> None:
    put_parquet(folder / "data" / "test-00000-of-00001.parquet", videodc_rows())
    put(folder / "Test_Videos" / "v_abc.mp4")
    put(folder / "Test_Videos" / "v_ghi.mkv", "red")


# Where the whole videos of a task lie, and how its first one is called there.
MVBENCH = {
    "action_antonym": ("ssv2_video", "166583.webm"),
    "action_count": ("perception/videos", "video_1.mp4"),
    "action_localization": ("sta/sta_video", "a.mp4"),
    "action_prediction": ("star/Charades_v1_480", "ZS9XR.mp4"),
    "action_sequence": ("star/Charades_v1_480", "ZS9XR.mp4"),
    "character_order": ("perception/videos", "video_1.mp4"),
    "counterfactual_inference": ("clevrer/video_validation", "video_10009.mp4"),
    "egocentric_navigation": ("vlnqa", "1.mp4"),
    "episodic_reasoning": ("tvqa/frames_fps3_hq", "s05e02_seg02_clip_17"),
    "fine_grained_action": ("Moments_in_Time_Raw/videos", "bending/x.mp4"),
    "fine_grained_pose": ("nturgbd", "S001C001P001R001A001_rgb.avi"),
    "moving_attribute": ("clevrer/video_validation", "video_10009.mp4"),
    "moving_count": ("clevrer/video_validation", "video_10009.mp4"),
    "moving_direction": ("clevrer/video_validation", "video_10009.mp4"),
    "object_existence": ("clevrer/video_validation", "video_10009.mp4"),
    "object_interaction": ("star/Charades_v1_480", "ZS9XR.mp4"),
    "object_shuffle": ("perception/videos", "video_1.mp4"),
    "scene_transition": ("scene_qa/video", "Top001_00001.mp4"),
    "state_change": ("perception/videos", "video_1.mp4"),
    "unexpected_action": ("FunQA_test/test", "test_creative/C_KT_1.mp4"),
}
PARTS = (
    "action_localization", "action_prediction", "action_sequence", "episodic_reasoning",
    "object_interaction",
)  # fmt: skip


def mvbench_rows(task: str) -> Rows:
    row: dict[str, Any] = {
        "video": MVBENCH[task][1],
        "question": "What colour is the star?",
        "candidates": COLOURS[:3],
        "answer": "blue",
    }
    if task not in PARTS:
        return [row]
    return [row | {"start": 0.5, "end": 1.5}, row | {"start": 1.0, "end": 2.0, "answer": "red"}]


def put_frames(folder: Path) -> None:
    """A clip as three JPEG files per second."""
    from PIL import Image

    folder.mkdir(parents=True)
    whole = folder.with_suffix(".mp4")
    whole.write_bytes(clip("green"))
    frames = read(whole, Sampling(frames=6)).frames
    whole.unlink()
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / f"{number:05}.jpg", quality=95)


def mvbench(folder: Path) -> None:
    for task, (source, video) in MVBENCH.items():
        put_json(folder / "json" / f"{task}.json", mvbench_rows(task))
        path = folder / "video" / source / video
        if path.exists():
            continue
        if task == "episodic_reasoning":
            put_frames(path)
        else:
            put(path)


MAKERS: dict[str, Callable[[Path], None]] = {
    "nextqa_mc_test": nextqa,
    "activitynetqa": activitynetqa,
    "perceptiontest_val_mc": perceptiontest,
    "videomme": videomme,
    "videomme_w_subtitle": videomme,
    "video_dc499": videodc,
    "mvbench": mvbench,
}


def make(name: str, folder: Path) -> Path:
    """Fill a folder with a benchmark, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[name](folder)
    return folder


def items_of(name: str, folder: Path, limit: int | None = None) -> list[Item]:
    """What is asked of the first split of the benchmark in a folder."""
    dataset = open_dataset(name, folder)
    return dataset.items(dataset.about.splits[0], limit)


def open_made(name: str, folder: Path) -> Dataset:
    """A benchmark, made in a folder and opened."""
    return open_dataset(name, make(name, folder))
