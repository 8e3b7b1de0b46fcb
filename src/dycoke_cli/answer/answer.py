"""The answer to a question, as the JSON object of `dycoke ask --json`.

A key of the object is a field here, and nothing else lists it: the schema
(`dycoke schema answer`), what is read from a server's answer (`--server`) and the answers that
tests make up follow from these classes. A value that a server may not report is `Unreported`, and
null where it doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dycoke_cli.answer.json_schema import (
    ABSENT,
    NOT_A_KEY,
    Absent,
    Amount,
    Count,
    Doc,
    SchemaVariant,
    Unreported,
    to_dict,
)
from dycoke_cli.errors import DycokeError
from dycoke_cli.version import __version__


@dataclass(frozen=True)
class TraceStep:
    """A generated token, and what the forward that generated it attended to.

    Tokens are flat indices `frame*N + position`, ascending.
    """

    text: Annotated[str, Doc("What the token added to the answer; empty for an end token.")]
    attention: Annotated[
        tuple[float, ...],
        Doc(
            "Attention of the query that generated the token to each token of `kept`: after "
            "softmax over all keys (those of evicted tokens too), averaged over heads."
        ),
    ]
    active: Annotated[
        tuple[int, ...], Doc("Visual tokens that the layers behind the selection attended to.")
    ]
    evicted: Annotated[tuple[int, ...], Doc("Tokens that left the active set.")]
    recalled: Annotated[tuple[int, ...], Doc("Tokens that came back into it.")]
    reselected: Annotated[bool, Doc("The first selection isn't counted.")]


@dataclass(frozen=True)
class Trace:
    """Which visual tokens an answer came from.

    Tokens are flat indices `frame*N + position`, ascending.
    """

    layer: Annotated[int, Doc("Whose attention is recorded, from 0.", minimum=0)]
    kept: Annotated[tuple[int, ...], Doc("Visual tokens that the language model read.")]
    merged_into: Annotated[
        tuple[int, ...] | None,
        Doc(
            "For each visual token the kept one that represents it: itself where it is kept, -1 "
            "where it was dropped. Null of a method that doesn't merge."
        ),
    ]
    steps: Annotated[
        tuple[TraceStep, ...], Doc("The generated tokens; the first comes from the prefill.")
    ]


LEAST_MASS = 0.5
"""Below it other first tokens are likelier than those of all options together."""


@dataclass(frozen=True)
class Scoring:
    """How the options of a typed question were scored; lists are in the order of the options."""

    texts: Annotated[
        tuple[str, ...],
        Doc("The options as they were scored: as given, or all with a capital first letter."),
    ]
    log_probabilities: Annotated[
        tuple[float, ...],
        Doc("Of each whole text behind the prompt, in nats: the sum over tokens."),
    ]
    tokens: Annotated[tuple[Count, ...], Doc("Tokens scored of each.")]
    per_token: Annotated[
        bool,
        Doc(
            "Whether log-probabilities were divided by the tokens before they became "
            "probabilities, because options have different numbers of tokens."
        ),
    ]
    ended: Annotated[
        bool,
        Doc(
            "Whether the end of the answer was scored as one more token, because an option begins "
            "with another one."
        ),
    ]
    mass: Annotated[
        Amount,
        Doc(
            "Probability of all options' first tokens together, among all tokens. Small: the model "
            "would rather answer something else.",
            maximum=1,
        ),
    ]
    likeliest: Annotated[str, Doc("The token that the model would rather begin its answer with.")]


@dataclass(frozen=True)
class TimeRange:
    """A part of the video about which the answer is yes, with the probabilities that say so."""

    start: Annotated[Amount, Doc("In seconds from the first frame.")]
    end: Annotated[Amount, Doc("Likewise.")]
    inside: Annotated[Amount, Doc("Probability of yes about this part alone.", maximum=1)]
    outside: Annotated[
        float | None,
        Doc(
            "The same about what is beside it, up to a window's length before and behind: the "
            "larger one. Null where nothing is beside it.",
            minimum=0,
            maximum=1,
        ),
    ]


SCHEMA = "dycoke.answer/1"

Version = Annotated[str, Doc("Version of dycoke.")]

Id = Annotated[
    str | Absent | None,
    Doc("In a batch: as the question's file gave it, or null.", needs=("key", "digest")),
]
Key = Annotated[
    str | Absent,
    Doc(
        "In a batch: a hash of what the answer depends on. Two lines with one key answer the same "
        "question under the same conditions; the later one counts.",
        needs=("id", "digest"),
        pattern="^[0-9a-f]{32}$",
    ),
]
Digest = Annotated[
    str | Absent | None,
    Doc(
        "In a batch: SHA-256 of the video file; null where it can't be read.",
        needs=("id", "key"),
        pattern="^[0-9a-f]{64}$",
    ),
]

Start = Annotated[
    Amount | Absent,
    Doc(
        "Start of the part that the question is about, in seconds from the first frame: with "
        "--every, of `watch`, and in a batch where the question's file has it."
    ),
]
End = Annotated[Amount | Absent, Doc("Its end, likewise.")]
Dropped = Annotated[
    Count | Absent,
    Doc("Of `watch`: windows before this one that were dropped, because asking took too long."),
]

_BATCH_KEYS = ("id", "key", "digest")
_CONTEXT_KEYS = (*_BATCH_KEYS, "benchmark", "model", "video", "question")


@dataclass(frozen=True)
class ReportedModel:
    """The model that answered."""

    name: str
    revision: str | None
    dtype: str | Unreported
    device: str | Unreported
    server: Annotated[str | Absent, Doc("Address of the server that has it.")] = ABSENT


@dataclass(frozen=True)
class ReportedFrames:
    """The frames that the model was given."""

    count: Annotated[int, Doc(minimum=1)]
    timestamps_s: Annotated[
        tuple[Amount, ...], Doc("Time stamp of each frame, in seconds from the first.")
    ]


@dataclass(frozen=True, kw_only=True)
class OneVideo:
    """One of several videos that were shown together."""

    video: Annotated[str | Absent, Doc("As given.")] = ABSENT
    frames: ReportedFrames
    visual: Annotated[Count, Doc("Its visual tokens before any are dropped.")]
    visual_kept: Annotated[Count, Doc("Those left before the language model.")]


@dataclass(frozen=True)
class ReportedSubtitles:
    """The subtitles in the prompt: the lines that are shown at a sampled frame."""

    source: Annotated[str, Doc("A file, or the stream of the video's container.")]
    lines: Count


@dataclass(frozen=True)
class ReportedWindows:
    """The windows that a video was read in, one by one, and the pool of the tokens they kept."""

    count: Annotated[Count, Doc("Windows.")]
    frames: Annotated[int, Doc("Frames per window; the last one may have fewer.", minimum=1)]
    visual_kept: Annotated[
        Count,
        Doc("Visual tokens that the windows kept; of these, the pool keeps `tokens.visual_kept`."),
    ]
    video_tokens: Annotated[
        Count, Doc("Cap of the pool: --video-tokens, or what one window has; no more than fits.")
    ]
    positions: Annotated[
        Literal["kept", "renumbered"],
        Doc("Of the tokens that are read: those of the whole video, or contiguous ones."),
    ]


@dataclass(frozen=True)
class Tokens:
    """Tokens of the prompt and of the answer."""

    visual: Annotated[Count | Unreported, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[Count | Unreported, Doc("Visual tokens at prefill.")]
    visual_active_in_decode: Annotated[
        Amount | Unreported,
        Doc("Visual tokens attended per step in the pruned layers: mean over steps."),
    ]
    visual_read_per_step: Annotated[
        float | None,
        Doc(
            "Visual tokens attended per step: mean over steps and layers. Null for models with "
            "layers that don't attend to every token.",
            minimum=0,
        ),
    ]
    text: Annotated[Count | Unreported, Doc("Text tokens of the prompt.")]
    generated: Annotated[
        Count | Unreported,
        Doc("Generated tokens, with the end token; 0 of a typed question."),
    ]
    prompt: Annotated[
        Count | Unreported | Absent,
        Doc("Of a server: tokens of the prompt after compression, as it counts them."),
    ] = ABSENT
    # tokens of the prompt that an earlier question had prefilled; equal answers may differ in it
    reused: Annotated[int, NOT_A_KEY] = field(default=0, compare=False)


@dataclass(frozen=True)
class Decode:
    """KV-cache pruning in decode; all but `steps` are 0 without it."""

    steps: Annotated[Count, Doc("Decoding steps; the first token comes from the prefill.")]
    choices_renewed: Annotated[Count, Doc("Reselections, the first selection not counted.")]
    tokens_evicted: Annotated[Count, Doc("Sum over steps.")]
    tokens_recalled: Annotated[Count, Doc("The same.")]


@dataclass(frozen=True)
class Flops:
    """FLOPs of the language model by the paper's formula."""

    prefill: Amount
    decode: Amount
    uncompressed: Annotated[Amount, Doc("Prefill and decode of the baseline.")]


@dataclass(frozen=True)
class Seconds:
    """Wall time by stage.

    Of a server's answer, vision, prefill and decode are measured by the server, and the rest here;
    first_token is null where the answer isn't streamed.
    """

    load: Annotated[Amount | Unreported, Doc("Loading the model; not part of total.")]
    video_decode: Annotated[Amount, Doc("Decoding the video frames.")]
    vision: Annotated[Amount | Unreported, Doc("Vision encoding.")]
    prefill: Amount | Unreported
    first_token: Annotated[Amount | Unreported, Doc("TTFT, without load.")]
    decode: Annotated[
        Amount | Unreported, Doc("Decoding; of a typed question the forward of its options.")
    ]
    total: Annotated[Amount, Doc("End to end, without load.")]
    request: Annotated[
        Amount | Absent, Doc("Of a server: from the request to the answer, with its queue.")
    ] = ABSENT


@dataclass(frozen=True)
class Bytes:
    """Memory in bytes."""

    weights: Count
    kv_cache: Annotated[Count, Doc("Held on all devices, spare entries included.")]
    kv_active: Annotated[
        Count,
        Doc(
            "Keys and values that the last step attended to, and the indexes of keys by which "
            "layers selected them."
        ),
    ]
    read_per_token: Annotated[
        int | None,
        Doc(
            "Bytes read per decoding step: weights of the language model, and kv_active. Times "
            "tokens_per_second it is the bandwidth. Null for a mixture of experts.",
            minimum=0,
        ),
    ]
    peak_working: Annotated[
        int | None, Doc("Peak memory, excluding weights; null where it isn't known.", minimum=0)
    ]
    peak_total: Annotated[int | None, Doc("Peak memory; null where it isn't known.", minimum=0)]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answered question about a video; all fields but the last are keys of the JSON object.

    The answer of a server has null for what the server doesn't report.

    Args:
        trace: what each generated token attended to, where that was asked for.
    """

    schema: str = SCHEMA
    version: Version = __version__
    id: Id = ABSENT
    video: Annotated[str | Absent, Doc("As given; the first of several.")] = ABSENT
    question: Annotated[str, Doc("The question.")]
    start: Start = ABSENT
    end: End = ABSENT
    dropped: Dropped = ABSENT
    answer: Annotated[
        str,
        Doc(
            "The answer, without special tokens; of a typed question its choice; with --when the "
            "ranges as text, or 'not found'."
        ),
    ]
    choice: Annotated[
        str | Absent,
        Doc(
            "With --choices, --yes-no or --score: the likeliest option, as given.",
            needs=("probabilities", "margin", "scoring"),
        ),
    ] = ABSENT
    probabilities: Annotated[
        dict[str, Amount] | Absent,
        Doc("Of each option, given that the answer is one of them; they sum to 1."),
    ] = ABSENT
    margin: Annotated[
        Amount | Absent, Doc("Probability of the choice minus that of the second likeliest option.")
    ] = ABSENT
    mean: Annotated[
        float | Absent, Doc("With --score: mean of the numbers under their probabilities.")
    ] = ABSENT
    scoring: Scoring | Absent = ABSENT
    parsed: Annotated[Any | Absent, Doc("With --schema: the JSON value of the answer.")] = ABSENT
    when: Annotated[
        tuple[TimeRange, ...] | Absent,
        Doc(
            "With --when: the time ranges in which the answer is yes, ascending; empty where none "
            "was found. `choice` and `probabilities` are then of the whole video at once."
        ),
    ] = ABSENT
    finish_reason: Annotated[Literal["stop", "length"], Doc("length: cut by --max-tokens.")]
    seed: Annotated[int | None, Doc("Sampling seed; null for greedy decoding.", minimum=0)]
    model: ReportedModel
    method: Annotated[
        dict[str, Any] | Unreported,
        Doc(
            "Its name and every parameter.",
            properties={"name": {"type": "string"}},
            required=["name"],
        ),
    ]
    frames: Annotated[
        ReportedFrames,
        Doc("Of several videos: all, one video behind the other, each with its own times."),
    ]
    videos: Annotated[
        tuple[OneVideo, ...] | Absent, Doc("Of a question about several videos: each.")
    ] = ABSENT
    subtitles: Annotated[
        ReportedSubtitles | Absent, Doc("With --subtitles, where the video has any.")
    ] = ABSENT
    windows: Annotated[ReportedWindows | Absent, Doc("Where the video was read in windows.")] = (
        ABSENT
    )
    tokens: Tokens | Unreported
    decode: Decode | Unreported
    flops: Annotated[Flops | Unreported, Doc("Of the language model, by the paper's formula.")]
    seconds: Annotated[
        Seconds | Unreported,
        Doc("Of all questions that are answered together, where several are; total excludes load."),
    ]
    tokens_per_second: Annotated[
        float | None, Doc("(generated - 1) / seconds.decode; null for one token.", minimum=0)
    ]
    bytes: Bytes | Unreported
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
    compared_to: Annotated[
        Answer | Absent,
        Doc(
            "With --compare: the answer of the baseline (--method none).",
            **{"not": {"required": ["compared_to"]}},
        ),
    ] = ABSENT
    key: Key = ABSENT
    digest: Digest = ABSENT
    trace: Annotated[Trace | None, NOT_A_KEY] = None

    @property
    def remote(self) -> bool:
        """Whether a server answered (`--server`)."""
        return self.model.server is not ABSENT

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; `video` is part of it where a command was given one."""
        document: dict[str, Any] = to_dict(self)
        return document


@dataclass(frozen=True)
class Error:
    """Why there is no result."""

    code: Annotated[str, Doc("The error code, such as video_unreadable.", pattern="^[a-z_]+$")]
    message: Annotated[str, Doc("A human-readable sentence.")]

    @classmethod
    def of(cls, error: DycokeError) -> Error:
        """An error as an object."""
        return cls(error.code, str(error))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """In place of a result: what failed, and what it was about, as far as that is known."""

    schema: str  # of the result that there would have been
    version: Version = __version__
    id: Id = ABSENT
    benchmark: str | Absent = ABSENT
    model: str | Absent = ABSENT
    video: Annotated[str | Absent, Doc("As given.")] = ABSENT
    question: Annotated[str | Absent | None, Doc("As it was asked; null where it isn't known.")] = (
        ABSENT
    )
    start: Start = ABSENT
    end: End = ABSENT
    error: Error
    key: Key = ABSENT
    digest: Digest = ABSENT


def failure_part(*about: str, needs: tuple[str, ...] = ()) -> SchemaVariant:
    """What there is in place of a result, with these keys of what it was about."""
    return SchemaVariant(
        Failure, needs=needs, without=[name for name in _CONTEXT_KEYS if name not in about]
    )


def answer_parts() -> Mapping[str, SchemaVariant]:
    """Variants of a `dycoke.answer/1` object."""
    return {
        "answer": SchemaVariant(Answer, needs=("video",)),
        "error": failure_part("video", "question", *_BATCH_KEYS),
    }


def batch_parts() -> Mapping[str, SchemaVariant]:
    """Variants of a line of `dycoke batch`."""
    needs = ("video", "question", *_BATCH_KEYS)
    return {
        "answer": SchemaVariant(Answer, needs, without=("compared_to",)),
        "error": failure_part(*needs, needs=needs),
    }
