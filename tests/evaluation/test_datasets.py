"""Benchmarks by name, and the rows of their files."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets import DATASETS, open_dataset, tasks_of
from dycoke_cli.evaluation.datasets.published import VideoMME
from dycoke_cli.evaluation.folder import Folder
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.evaluation import miniatures
from tests.evaluation.miniatures import items_of, open_made


def test_tasks_are_found_by_their_names(tmp_path: Path) -> None:
    assert open_dataset("mvbench_action_count", tmp_path).name == "mvbench_action_count"
    assert open_dataset("videomme_w_subtitle", tmp_path).name == "videomme_w_subtitle"
    with pytest.raises(UsageError, match=r"did you mean mvbench_action_count\?"):
        open_dataset("mvbench_action_counts", tmp_path)
    with pytest.raises(UsageError, match="there is no benchmark 'videomme_action_count'"):
        open_dataset("videomme_action_count", tmp_path)


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_a_miniature_is_read_and_all_its_videos_are_found(name: str, tmp_path: Path) -> None:
    dataset = open_made(name, tmp_path)
    items = dataset.items(dataset.about.splits[0], None)
    assert len({item.id for item in items}) == len(items) >= 2
    assert dataset.missing({item.video for item in items}) == []
    assert dataset.notes() == []
    for item in items:
        assert item.question.startswith(item.question.strip())
        if item.options:
            assert item.answer in "ABCDE"[: len(item.options)]
    # Those about one video stand together.
    videos = [item.video for item in items]
    runs = [video for i, video in enumerate(videos) if i == 0 or videos[i - 1] != video]
    assert len(runs) == len(set(videos))


def test_every_benchmark_but_the_bundled_ones_has_a_miniature() -> None:
    assert {*DATASETS} - {"shapes", "shapes-long"} == {*miniatures.MAKERS}
    assert set(miniatures.MVBENCH) == set(tasks_of("mvbench"))


LETTER = "Answer with the option's letter from the given choices directly."
SELECT = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. Respond with only the letter (A, B, C, or D) of the correct option."
)
PROMPTS = {
    "nextqa_mc_test": "what colour is the star\nA. blue\nB. red\nC. green\nD. yellow\nE. purple",
    "activitynetqa": "What is the color of the star? Answer the question using a single word or "
    "phrase.",
    "perceptiontest_val_mc": f"What colour is the star?\nA. blue\nB. red\nC. green\n{LETTER}",
    "videomme": f"{SELECT}\nWhat colour is the star?\nA. Blue.\nB. Red.\nC. Green.\nD. Yellow.\n\n"
    + LETTER,
    "videomme_w_subtitle": "This video's subtitles are listed below: \nIt begins.\nIt goes on,\n"
    f"{SELECT}\nWhat colour is the star?\nA. Blue.\nB. Red.\nC. Green.\nD. Yellow.\n"
    "The best answer is:",
    "video_dc499": "Describe the video in detail.",
    "mvbench": "Question:What colour is the star?\nOption:\n(A) blue\n(B) red\n(C) green\n"
    "Only give the best option.",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_of_lmms_eval(name: str, tmp_path: Path) -> None:
    """As its code writes them, letter for letter."""
    first = open_made(name, tmp_path).items("test", None)[0]
    assert first.question == PROMPTS[name]


def test_a_row_of_the_published_file(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(
        "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
        "4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,"
        "tap their feet,strum the string,hit with sticks,pat with hand\n"
    )
    options = ("roll the handle", "tap their feet", "strum the string", "hit with sticks",
               "pat with hand")  # fmt: skip
    shown = "\n".join(f"{letter}. {one}" for letter, one in zip("ABCDE", options, strict=True))
    question = f"how do the two man play the instrument\n{shown}"
    expected = Item("4010069381_6", "4010069381", question, "A", "CH", "causal", options=options)
    assert items_of("nextqa_mc_test", tmp_path) == [expected]


def test_a_video_without_subtitles_says_so(tmp_path: Path) -> None:
    items = open_made("videomme_w_subtitle", tmp_path).items("test", None)
    head = "This video's subtitles are listed below: \nNo subtitles available\nSelect the best"
    assert items[-1].question.startswith(head)
    (tmp_path / "subtitle" / "fFjv93ACGo8.srt").unlink()
    dataset = open_dataset("videomme_w_subtitle", tmp_path)
    dataset.items("test", None)
    assert dataset.notes() == [
        "videomme_w_subtitle: there is no .srt file, so no question has subtitles"
    ]


def test_subtitles_of_which_no_line_counts_are_named(tmp_path: Path) -> None:
    dataset = open_made("videomme_w_subtitle", tmp_path)
    dataset.items("test", None)
    assert dataset.notes() == []
    plain = "1\n00:00:00,000 --> 00:00:02,000\nIt begins.\n"
    (tmp_path / "subtitle" / "fFjv93ACGo8.srt").write_text(plain, encoding="utf-8")
    dataset = open_dataset("videomme_w_subtitle", tmp_path)
    assert dataset.items("test", None)[0].question.startswith(
        "This video's subtitles are listed below: \n\nSelect"
    )
    assert dataset.notes() == [
        "videomme_w_subtitle: no line counts of the subtitles of 1 of 2 videos (such as "
        "fFjv93ACGo8): only text in Video-MME's font tag, at one of 32 frames, does"
    ]


def test_subtitles_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    miniatures.make("videomme_w_subtitle", tmp_path)
    for content, reason in [(b"1\nat noon\nHello", "no times in 'at noon'"), (b"\xff", "UTF-8")]:
        (tmp_path / "subtitle" / "fFjv93ACGo8.srt").write_bytes(content)
        with pytest.raises(UsageError, match=rf"fFjv93ACGo8\.srt can't be read \(.*{reason}"):
            items_of("videomme_w_subtitle", tmp_path)


def test_options_as_the_papers_code_printed_them(tmp_path: Path) -> None:
    dataset = VideoMME(miniatures.make("videomme", tmp_path))
    usual = dataset.edition("test")
    dataset.options_as_list = True
    question = dataset.items("test", None)[0].question
    assert "star?\n['A. Blue.', 'B. Red.', 'C. Green.', 'D. Yellow.']\n\nAnswer with" in question
    assert dataset.edition("test") != usual


def test_kinds_and_labels(tmp_path: Path) -> None:
    def kinds(name: str) -> list[tuple[str, str, str]]:
        items = open_made(name, tmp_path / name).items("test", None)
        return [(item.id, item.kind, item.label) for item in items]

    assert kinds("nextqa_mc_test") == [
        ("4010069381_0", "TN", "temporal"),
        ("4010069381_1", "DL", "descriptive"),
        ("2574374895_0", "CW", "causal"),
    ]
    assert kinds("activitynetqa") == [
        ("v_abc_1", "color", "all but yes/no"),
        ("v_abc_2", "yes/no", "yes/no"),
        ("v_d-eg_1", "motion", "all but yes/no"),
    ]
    assert kinds("perceptiontest_val_mc") == [
        ("video_10_0", "semantics", "descriptive"),
        ("video_10_1", "physics", "predictive"),
        ("video_13_0", "semantics", "descriptive"),
    ]
    assert kinds("videomme")[1:] == [
        ("001-2", "Attribute Perception", "short"),
        ("301-1", "Attribute Perception", "medium"),
    ]
    assert kinds("video_dc499") == [("v_abc", "description", ""), ("v_ghi", "description", "")]


def test_parts_of_videos_and_parts_that_were_cut_beforehand(tmp_path: Path) -> None:
    miniatures.make("mvbench", tmp_path)
    whole = items_of("mvbench_action_sequence", tmp_path)
    assert [(item.start_s, item.end_s) for item in whole] == [(0.5, 1.5), (1.0, 2.0)]
    assert [item.answer for item in whole] == ["A", "B"]
    before = tmp_path / "video" / "star"
    (before / "Charades_v1_480").rename(before / "Charades_segment")
    cut = items_of("mvbench_action_sequence", tmp_path)
    assert [(item.start_s, item.end_s) for item in cut] == [(None, None)] * 2
    dataset = open_dataset("mvbench_action_sequence", tmp_path)
    assert dataset.file(cut[0].video) == before / "Charades_segment" / "ZS9XR.mp4"
    # Other frames are seen: answers are no longer those of whole videos.
    assert dataset.edition("test").endswith("-cut2")
    assert open_dataset("mvbench_action_count", tmp_path).edition("test").count("-") == 0


def test_videos_of_the_branch_that_lmms_eval_downloads(tmp_path: Path) -> None:
    miniatures.make("mvbench", tmp_path)
    video = tmp_path / "video"
    (video / "ssv2_video").rename(tmp_path / "ssv2_video_mp4")
    (tmp_path / "ssv2_video_mp4" / "166583.webm").rename(tmp_path / "ssv2_video_mp4" / "166583.mp4")
    dataset = open_dataset("mvbench_action_antonym", tmp_path)
    (item,) = dataset.items("test", None)
    assert dataset.file(item.video) == tmp_path / "ssv2_video_mp4" / "166583.mp4"


def test_a_folder_of_frames_is_a_video_of_three_frames_per_second(tmp_path: Path) -> None:
    dataset = open_dataset("mvbench_episodic_reasoning", miniatures.make("mvbench", tmp_path))
    (first, second) = dataset.items("test", None)
    assert (first.video, first.start_s, second.start_s) == (second.video, 0.5, 1.0)
    whole = replace(first, start_s=None, end_s=None).sampled(Sampling(frames=100))
    path = dataset.file(first.video)
    clip = read(path, whole)
    assert clip.timestamps_s == pytest.approx([i / 3 for i in range(6)])
    for shown, file in zip(clip.frames, sorted(path.iterdir()), strict=True):
        with Image.open(file) as picture:
            difference = abs(shown.astype(int) - picture.convert("RGB")).mean()
        assert difference < 4
    part = read(path, first.sampled(Sampling(frames=100)))
    assert part.timestamps_s == pytest.approx([2 / 3, 1, 4 / 3])


def test_the_first_videos_are_the_same_whatever_the_number(tmp_path: Path) -> None:
    miniatures.make("mvbench", tmp_path)
    some = [{item.video for item in items_of("mvbench", tmp_path, n)} for n in range(1, 8)]
    assert [len(videos) for videos in some] == list(range(1, 8))
    for fewer, more in pairwise(some):
        assert fewer < more


def test_the_first_videos_are_no_matter_of_the_files_order(tmp_path: Path) -> None:
    """MVBench's first videos are all of its first task, NExT-QA's test file is sorted, too."""
    rows = [miniatures.nextqa_rows()[0] | {"video": f"{1000 + n}"} for n in range(200)]
    chosen = []
    for order in (rows, rows[::-1]):
        miniatures.put_csv(tmp_path / "test.csv", order)
        chosen.append({int(item.video) for item in items_of("nextqa_mc_test", tmp_path, 40)})
    assert chosen[0] == chosen[1]
    quarters = Counter((video - 1000) // 50 for video in chosen[0])
    assert min(quarters.values()) >= 3
    assert len(quarters) == 4


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("name", ["videomme", "video_dc499"])
def test_without_parquet(
    name: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = items_of(name, miniatures.make(name, tmp_path))
    rows = miniatures.videomme_rows() if name == "videomme" else miniatures.videodc_rows()
    (parquet,) = tmp_path.rglob("*.parquet")
    parquet.unlink()
    path = parquet.with_name(f"test{suffix}")
    if suffix == ".json":
        miniatures.put_json(path, rows)
    elif suffix == ".csv":
        miniatures.put_csv(path, rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert items_of(name, tmp_path) == whole


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniatures.make("videomme", tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"is Parquet, which needs another package: .* install .*"):
        items_of("videomme", tmp_path)


def test_the_edition_follows_the_annotations(tmp_path: Path) -> None:
    dataset = open_made("nextqa_mc_test", tmp_path)
    before = dataset.edition("test")
    miniatures.put(tmp_path / "more.mp4")
    assert open_dataset("nextqa_mc_test", tmp_path).edition("test") == before
    rows = miniatures.nextqa_rows()
    rows[0]["answer"] = 3
    miniatures.put_csv(tmp_path / "test.csv", rows)
    assert open_dataset("nextqa_mc_test", tmp_path).edition("test") != before
    srt = miniatures.make("videomme_w_subtitle", tmp_path / "mme")
    before = open_dataset("videomme_w_subtitle", srt).edition("test")
    (srt / "subtitle" / "fFjv93ACGo8.srt").write_text(miniatures.SRT + "\n", encoding="utf-8")
    assert open_dataset("videomme_w_subtitle", srt).edition("test") != before


def test_hidden_files_are_none(tmp_path: Path) -> None:
    dataset = open_made("perceptiontest_val_mc", tmp_path)
    before = dataset.items("validation", None)
    for name in ("._mc_question_valid.json", ".cache/mc_question_valid.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    (tmp_path / "mc_question_valid.json").rename(tmp_path / "my_valid.json")
    (tmp_path / "__MACOSX").mkdir()
    miniatures.put(tmp_path / "__MACOSX" / "video_99.mp4")
    dataset = open_dataset("perceptiontest_val_mc", tmp_path)
    assert dataset.items("validation", None) == before
    assert dataset.missing(["video_10", "video_99"]) == ["video_99"]


def test_a_map_gives_videos_their_names(tmp_path: Path) -> None:
    miniatures.make("nextqa_mc_test", tmp_path)
    (tmp_path / "NExTVideo" / "1164" / "4010069381.mp4").rename(
        tmp_path / "NExTVideo" / "1164" / "55.mp4"
    )
    assert open_dataset("nextqa_mc_test", tmp_path).missing(["4010069381"]) == ["4010069381"]
    miniatures.put_json(tmp_path / "map_vid_vidorID.json", {"4010069381": "1164/55"})
    assert open_dataset("nextqa_mc_test", tmp_path).missing(["4010069381"]) == []


def test_lines_within_a_cell_and_odd_characters(tmp_path: Path) -> None:
    rows = miniatures.nextqa_rows()
    rows[0]["a0"], rows[1]["question"] = "one\u2028two", "what\nhappens"
    miniatures.put_csv(tmp_path / "test.csv", rows)
    items = items_of("nextqa_mc_test", tmp_path)
    assert items[0].options[0] == "one\u2028two"
    assert items[1].question.startswith("what\nhappens\nA. blue")


def test_a_video_is_found_whatever_its_suffix(tmp_path: Path) -> None:
    """Also if its name without the suffix ends as a suffix does."""
    for name in ("a.dav", "b.LRV", "clip.360.mp4", "x.mod.ts"):
        (tmp_path / name).touch()
    folder = Folder(tmp_path)
    wanted = {"a": "a.dav", "a.mp4": "a.dav", "b": "b.LRV", "clip.360": "clip.360.mp4"}
    wanted |= {"x.mod": "x.mod.ts", "x.mod.mp4": "x.mod.ts"}
    for name, file in wanted.items():
        assert folder.video(name) == tmp_path / file
    assert folder.video("clip") is None
