"""Objects of another kind in Python get the sentence that names what is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dycoke_cli
from dycoke_cli import (
    DyCoke,
    GenerationOptions,
    LoadOptions,
    Sampling,
    StructuredOutput,
    TokenOptions,
    TypedOptions,
    Uncompressed,
    VideoSession,
    errors,
    load,
    read,
)
from dycoke_cli.errors import _KINDS, ContextError, DycokeError, UsageError
from tests.families.sessions import loaded_of
from tests.forms import NEEDS_LIBRARY
from tests.natural import Pictures, pan

PATHS = "read takes the path of a video or of a folder of pictures, or a tuple of their paths, not "
FRAMES = r"VideoSession takes the frames of a video, as read\(PATH\) returns"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"clip.mp4", "a bytes"),
        (["a.png"], "a list"),
        (np.zeros((2, 8, 8, 3), np.uint8), "a ndarray"),
        (("a.png", 3), "3"),
    ],
)
def test_what_can_be_read(given: Any, shown: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(given)
    assert str(raised.value) == PATHS + shown


def test_what_a_session_takes() -> None:
    model = loaded_of("llava_onevision")
    session = VideoSession(model, Pictures.of(pan(4)))
    none: Any = None
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: VideoSession(model, Path("clip.mp4")), FRAMES),  # type: ignore[arg-type]
        (lambda: VideoSession(model, np.zeros((2, 8, 8, 3))), FRAMES),  # type: ignore[arg-type]
        (lambda: session.ask(["What?"]), "a question is one text, not a list"),  # type: ignore[arg-type]
        (lambda: session.ask(none), "a question is one text, not a NoneType"),
        (lambda: session.ask(" "), "^a question is empty$"),
        (lambda: session.ask("What?", on_text=3), "on_text takes a function of one text, not 3"),  # type: ignore[arg-type]
        (lambda: session.ask("What?", history=3), "history takes pairs .* not 3"),  # type: ignore[arg-type]
        (
            lambda: session.ask("What?", history=[("a",)]),
            r"history takes pairs .* not \[\('a',\)\]",
        ),  # type: ignore[list-item]
    ]
    for make, sentence in refused:
        with pytest.raises(UsageError, match=sentence):
            make()
    plain, named = (session.ask("What?", *method, max_tokens=1) for method in ((), (DyCoke(),)))
    assert plain.method == named.method


@pytest.mark.parametrize(
    ("make", "given", "sentence"),
    [
        (DyCoke, "merge_ration", "DyCoke has no 'merge_ration'; did you mean merge_ratio?"),
        (DyCoke, "k", "DyCoke has no 'k'; did you mean merge_ratio?"),
        (Sampling, "frame", "Sampling has no 'frame'; did you mean frames?"),
        (LoadOptions, "quantise", "LoadOptions has no 'quantise'; did you mean quantize?"),
        (
            GenerationOptions,
            "max_new_tokens",
            "GenerationOptions has no 'max_new_tokens'; did you mean max_tokens?",
        ),
        (TokenOptions, "topp", "TokenOptions has no 'topp'; did you mean top_p?"),
        (load, "devic", "load() has no 'devic'; did you mean device?"),
        (VideoSession.ask, "typd", "ask() has no 'typd'; did you mean typed?"),
        (Uncompressed, "x", "Method has no 'x'; it takes no parameters"),
    ],
)
def test_an_unknown_keyword_names_what_is_meant(make: Any, given: str, sentence: str) -> None:
    with pytest.raises(TypeError) as raised:
        make(**{given: 1})
    assert str(raised.value) == sentence


@NEEDS_LIBRARY
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TypedOptions(None), r'several texts, as in \("red", "blue"\), not a NoneType'),
        (lambda: TypedOptions((1, 2)), "an option is a text, not 1"),
        (lambda: TypedOptions.parse(["a", "b"]), 'takes one text, as in "red,blue", not a list'),
        (lambda: TypedOptions.parse_score((1, 5)), 'takes a text, as in "1-5", not a tuple'),
        (lambda: TokenOptions(stop="end"), "stop takes several texts, not 'end'"),
        (lambda: TokenOptions(stop=(1,)), "a text of stop must have 1 to 1000 characters"),
        (lambda: GenerationOptions(tokens={}), r"tokens takes TokenOptions\(…\), not a dict"),
        (lambda: GenerationOptions(trace="x"), "trace takes the index of a layer, not 'x'"),
        (lambda: StructuredOutput("jsn", "{}"), "of kind json, regex, grammar, not 'jsn'"),
        (lambda: StructuredOutput("json", {}), "the definition of a schema is a text, not a dict"),
        (lambda: StructuredOutput.parse({}), r"from_schema\(…\) takes an object, not a dict"),
        (
            lambda: StructuredOutput.from_schema({"enum": {1}}),
            "schema can't be followed: .*set",
        ),
    ],
)
def test_options_and_forms_of_another_kind(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_errors_are_exported() -> None:
    public = {name for name in dycoke_cli.__all__ if name.endswith("Error")}
    assert public == {kind.__name__ for kind in (DycokeError, ContextError, *_KINDS)}
    assert dycoke_cli.VideoError is errors.VideoError


def test_frames_and_fps_exclude_each_other_as_the_flags_do() -> None:
    sentence = "^frames and fps exclude each other; use one of them$"
    for args, given in (((8, 1), {}), ((), {"frames": 8, "fps": 1}), ((8,), {"fps": 1})):
        with pytest.raises(UsageError, match=sentence):
            Sampling(*args, **given)
    with pytest.raises(UsageError, match=sentence):
        replace(Sampling(frames=8), fps=1)


def test_a_method_that_is_never_attached_is_warned_about() -> None:
    model = loaded_of("llava_onevision").model
    made = [DyCoke()(model)]
    with pytest.warns(UserWarning, match="never attached: write `with DyCoke"):
        made.clear()
