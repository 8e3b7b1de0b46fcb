"""The figure shows the numbers of the trace, and the file is the picture that was promised."""

import pytest
from PIL import Image

from benchmarks.attention import attention_figure
from dycoke_cli.cli.plotting import HEIGHT_PX, WIDTH_PX, write_figure
from dycoke_cli.errors import OutputError, UsageError


def step(text, attention, evicted=(), recalled=()):
    return {"text": text, "attention": attention, "evicted": evicted, "recalled": recalled}


TRACE = {
    "layer": 2,
    "frames": 3,
    "steps": [
        step(" red", [0.1, 0.3, 0.0], evicted=[*range(40)]),
        step(" cross", [0.0, 0.0, 0.5], evicted=[1, 2, 3], recalled=[4, 5, 6]),
        step("$5$", [0.2, 0.1, 0.1]),
        step("", [0.0, 0.0, 0.0], evicted=[7], recalled=[8]),
    ],
}


def test_the_heat_map_has_shares_of_each_step():
    heat = attention_figure(TRACE, "What?").axes[0]
    (image,) = heat.images
    assert image.get_array().tolist() == [
        pytest.approx([0.25, 0.0, 0.5, 0.0]),
        pytest.approx([0.75, 0.0, 0.25, 0.0]),
        pytest.approx([0.0, 1.0, 0.25, 0.0]),
    ]
    assert [label.get_text() for label in heat.get_yticklabels()] == ["1", "2", "3"]


def test_the_bars_have_what_came_and_went():
    figure = attention_figure(TRACE, "What costs $5 or $6?")
    bars = figure.axes[1]
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == [0, 3, 0, 1, -40, -3, 0, -1]
    assert bars.get_ylim() == pytest.approx((-3.3, 3.3))  # the first choice runs off below …
    assert "−40" in [text.get_text() for text in bars.texts]  # … and says how far
    words = [label.get_text() for label in bars.get_xticklabels()]
    assert words == ["red", "cross", "$5$", "(end)"]
    assert figure.get_suptitle() == "What costs $5 or $6?"


def test_a_long_answer_has_room_for_its_words():
    long = TRACE | {"steps": TRACE["steps"][:2] * 100}
    labels = attention_figure(long, "What?").axes[1].get_xticklabels()
    assert 25 <= len(labels) <= 56


@pytest.mark.filterwarnings("error")
def test_the_file_is_a_picture_for_a_readme(tmp_path):
    path = tmp_path / "attention.png"
    write_figure(attention_figure(TRACE, "What costs $5 or $6?"), path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH_PX, HEIGHT_PX))
        colours = {colour for _, colour in picture.convert("RGB").getcolors(WIDTH_PX * HEIGHT_PX)}
    assert {(27, 127, 92), (200, 85, 61)} <= colours  # recalled, evicted


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"attention.png can't be written \(No such file"):
        write_figure(attention_figure(TRACE, "What?"), tmp_path / "nowhere" / "attention.png")


def test_no_steps():
    with pytest.raises(UsageError, match="single token has no decoding steps"):
        attention_figure(TRACE | {"steps": []}, "What?")
