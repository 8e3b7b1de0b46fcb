"""The key of an answer has all that it depends on; a parameter that is added later keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import make_dataclass, replace
from types import SimpleNamespace
from typing import Annotated, Any, get_type_hints

import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import METHODS, create, parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.eval_request import Evaluation
from dycoke_cli.evaluation.method_row import kept_rows
from dycoke_cli.loop.plan import RunPlan, plan_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.param import Param, parameters_of
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource
from tests.evaluation.samples import Samples

REQUEST = Request("mini", LoadOptions(), Sampling(), create("none"), GenerationOptions())
VIDEO = Footage("clips/a.mp4", "clips/a.mp4", "a.mp4", "0" * 64)
ASK = Ask("What?", REQUEST, (VIDEO,))
PLAN = RunPlan(
    REQUEST,
    REQUEST.method,
    {"name": "mini", "revision": None, "weights": "sha256:0", "dtype": "float32"},
)


def test_subtitles_are_in_the_key_by_their_content() -> None:
    """Those of the container are part of the video's digest; where a file lies doesn't matter."""

    def key(subtitles: SubtitleSource | None) -> str:
        return PLAN.key(replace(ASK, videos=(replace(VIDEO, subtitles=subtitles),)))

    plain, stream, one, other = map(
        key,
        (
            None,
            SubtitleSource(None, required=False),
            SubtitleSource("a.srt", digest="1" * 64),
            SubtitleSource("a.srt", digest="2" * 64),
        ),
    )
    assert len({plain, stream, one, other}) == 4
    assert key(SubtitleSource("b/a.srt", digest="1" * 64)) == one


def test_questions_are_told_apart_by_their_text_their_id_and_their_search() -> None:
    """Two lines of a file that ask the same under two ids get an answer each."""
    others = [replace(ASK, question="Why?"), replace(ASK, id="1"), replace(ASK, id="2")]
    searches = [replace(ASK, when_s=step_s) for step_s in (0.0, 2.0)]
    assert len({PLAN.key(ask) for ask in (ASK, *others, *searches)}) == 6


def test_a_question_with_a_method_of_its_own_is_asked_by_that() -> None:
    own = replace(ASK, request=replace(REQUEST, method=create("fastv")))
    asked = PLAN.with_defaults(own)
    assert asked.request.method == create("fastv")
    assert asked.key != PLAN.with_defaults(ASK).key
    # The method of the run has the model's defaults.
    settled = replace(PLAN, request=replace(REQUEST, method=create("fastv")))
    assert settled.with_defaults(ASK) == asked


def later(kind: type, default: object, before: object) -> Any:
    """A dataclass as it may be one day, with one more parameter."""
    told = Param("How strong.", before=before)
    strength, name = ("strength", Annotated[float, told], default), kind.__name__
    same = {"name": kind.name} if issubclass(kind, Method) else {}
    return make_dataclass(name, [strength], bases=(kind,), namespace=same, frozen=True)


def eval_id(request: Request) -> str:
    """Of the setup under which `eval` keeps the answers to a request."""
    name = request.method.name
    spec = SimpleNamespace(
        create=lambda: request.method, sampled=lambda _: request.sampling, method=name, text=name
    )
    evaluation = Evaluation(dataset=Samples(), specs=[spec], request=request)  # type: ignore[list-item]
    model = SimpleNamespace(
        describe=lambda: {"name": request.model}, info=SimpleNamespace(listed=False)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, name, type(request.method))
        ((row,), _) = kept_rows(evaluation, model)  # type: ignore[arg-type]
    return row.setup.id


def batch_key(request: Request) -> str:
    return RunPlan(request, request.method, {}).key(replace(ASK, request=request))


@pytest.mark.parametrize("of", [batch_key, eval_id])
def test_answers_stay_valid_when_a_method_gets_a_parameter(of: Callable[[Request], str]) -> None:
    """Under the value that it had before; another default is asked anew."""

    def key(method: type, default: float, **given: float) -> str:
        return of(replace(REQUEST, method=later(method, default, 1.0)(**given)))

    for method in METHODS.values():
        now = of(replace(REQUEST, method=method()))
        assert key(method, 1.0) == key(method, 0.5, strength=1.0) == now, method
        assert key(method, 0.5) == key(method, 1.0, strength=0.5) != now, method


@pytest.mark.parametrize("of", [batch_key, eval_id])
@pytest.mark.parametrize("kind", [Sampling, GenerationOptions])
def test_answers_stay_valid_when_there_is_another_flag(
    of: Callable[[Request], str], kind: type
) -> None:
    field, now = kind.__name__.lower().removesuffix("options"), of(REQUEST)
    one, other = (later(kind, default, 1.0) for default in (1.0, 0.5))
    assert of(replace(REQUEST, **{field: one()})) == now
    assert of(replace(REQUEST, **{field: other()})) != now
    assert of(replace(REQUEST, **{field: other(strength=1.0)})) == now


@pytest.mark.parametrize("of", [batch_key, eval_id])
def test_a_changed_default_is_asked_again(of: Callable[[Request], str]) -> None:
    """Each parameter's, in turn; it keeps the answers of those who had given that value."""
    for name, method in METHODS.items():
        now = of(replace(REQUEST, method=method()))
        for field, value in another_of_each(method()).items() if name != "none" else ():
            hint = get_type_hints(method, include_extras=True)[field]
            changed = make_dataclass(name, [(field, hint, value)], bases=(method,), frozen=True)
            found = of(replace(REQUEST, method=changed()))
            assert found != now, (name, field)
            given = replace(method(), **{field: value})
            assert found == of(replace(REQUEST, method=given)), (name, field)


@pytest.mark.parametrize("of", [batch_key, eval_id])
def test_every_parameter_is_in_the_key(of: Callable[[Request], str]) -> None:
    """Of frames and generation; those of methods are above."""
    methods = [{"method": method()} for name, method in METHODS.items() if name != "none"]
    assert len({of(replace(REQUEST, **change)) for change in [{}, *methods]}) == len(METHODS)
    # The limit of frames counts only beside a rate.
    clips = [Sampling(), Sampling(fps=2.0, max_frames=5)]
    for field, bases in {"sampling": clips, "generation": [GenerationOptions()]}.items():
        tried: set[str] = set()
        for base in bases:
            others = {n: v for n, v in another_of_each(base).items() if n not in tried}
            values = [base, *(replace(base, **{name: value}) for name, value in others.items())]
            assert len({of(replace(REQUEST, **{field: value})) for value in values}) == len(values)
            tried |= {*others}
        assert tried == {*parameters_of(type(bases[0]))}


def another_of_each(made: Any) -> dict[str, Any]:
    """For each parameter of a dataclass that can be changed alone: another value of it."""
    found = {}
    for name, parameter in parameters_of(type(made)).items():
        default = getattr(made, name)
        for value in (*parameter.choices, True, False, 1, 2, 0.5, 0.25, 0.75):
            if value == default or (parameter.kind is bool) != (type(value) is bool):
                continue
            try:
                changed = replace(made, **{name: value})
            except (UsageError, TypeError):
                continue
            if changed != made:
                found[name] = value
                break
    assert found
    return found


def test_what_an_answer_does_not_depend_on_is_not_in_the_key() -> None:
    """Where and how fast it runs; what a model is loaded with is in its identity."""
    assert set(Request.__dataclass_fields__) == {
        "model", "loading", "sampling", "method", "generation", "subtitles", "limits",
        "cautions", "video_tokens", "speech_model",
    }  # fmt: skip
    windows = replace(ASK, request=replace(REQUEST, video_tokens=100))
    assert PLAN.with_defaults(windows).key != PLAN.with_defaults(ASK).key
    elsewhere = replace(REQUEST, loading=LoadOptions(device="cpu"))
    same = replace(PLAN, request=elsewhere, batch_size=3, cache=True)
    assert same.with_defaults(ASK).key == PLAN.with_defaults(ASK).key


def test_the_dtype_is_in_the_key() -> None:
    """By the model as it is found: as `batch` makes its plan, and `eval` its rows."""
    chosen = [
        resolve_model("mini", LoadOptions(device="cpu", **options))
        for options in (
            {"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "float32", "quantize": "int8"},
            {"dtype": "bfloat16", "quantize": "int8"},
        )
    ]  # fmt: skip
    assert len({plan_of(REQUEST, found).with_defaults(ASK).key for found in chosen}) == 4
    # Where windows are possible, positions are settled once their number is known.
    pruned = replace(REQUEST, method=create("dycoke"))
    made = [plan_of(replace(pruned, video_tokens=most), chosen[0]) for most in (None, 100)]
    assert [plan.request.method.positions is None for plan in made] == [False, True]
    evaluation = Evaluation(dataset=Samples(), specs=parse_specs("none"), request=REQUEST)
    assert len({kept_rows(evaluation, found)[0][0].setup.id for found in chosen}) == 4
