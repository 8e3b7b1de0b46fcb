"""Flags that belong together and that several commands have; `spread` puts them in a signature."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dycoke_cli.cli import choice, options
from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions

if TYPE_CHECKING:
    from dycoke_cli.models.choosing import ChosenModel
    from dycoke_cli.models.loading import LoadedModel
    from dycoke_cli.request import Request
    from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class Frames:
    """Which frames are read."""

    frames: options.Frames = None
    fps: options.Fps = None
    max_frames: options.MaxFrames = None
    start: options.Start = None
    end: options.End = None
    stream: options.Stream = None

    def sampling(self) -> Sampling:
        """What they choose.

        Raises:
            UsageError: a value out of range, or two that contradict each other.
        """
        return choice.sampling(**asdict(self))


@dataclass(frozen=True)
class Model:
    """Which model answers."""

    model: options.Model = None

    def chosen(self) -> str | None:
        """The model that was chosen, by the flag or before; None where the bundled one answers.

        Raises:
            ModelError: the settings can't be read.
        """
        return settings.default_model() if self.model is None else self.model


@dataclass(frozen=True)
class Placing:
    """Where and in which numbers a model is loaded."""

    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    device_map: options.DeviceMap = None
    quantize: options.Quantize = None
    kernels: options.Kernels = "fast"

    def options(self, *, random_weights: bool = False) -> LoadOptions:
        """What they choose.

        Raises:
            UsageError: two that don't go together.
        """
        return LoadOptions(**asdict(self), random_weights=random_weights)


@dataclass(frozen=True)
class Method:
    """What is left out."""

    method: options.MethodName = "dycoke"
    ttm: options.Ttm = None
    merge_ratio: options.MergeRatio = None
    window: options.Window = None
    kv_prune: options.KvPrune = None
    prune_ratio: options.PruneRatio = None
    prune_layer: options.PruneLayer = None
    recall: options.Recall = None
    recall_threshold: options.RecallThreshold = None
    variant: options.Variant = None
    positions: options.Positions = None
    dp_cache: options.DpCache = None
    merge_stage: options.MergeStage = None
    prune_from: options.PruneFrom = None

    def choice(self) -> choice.MethodChoice:
        """What they choose.

        Raises:
            UsageError: a parameter that the method hasn't got, out of range, or in contradiction.
        """
        parameters = asdict(self)
        return choice.method_choice(parameters.pop("method"), parameters)


@dataclass(frozen=True)
class Answer:
    """How to answer."""

    max_new_tokens: options.MaxNewTokens = 128
    temperature: options.Temperature = 0.0
    seed: options.Seed = None

    def generation(self) -> Decoding:
        """What they choose.

        Raises:
            UsageError: a value out of range.
        """
        return Decoding(**asdict(self))


@dataclass(frozen=True)
class Chosen:
    """What ask, batch and eval choose: a `Request`, but for what only a model can tell.

    Args:
        model: its name; None where nobody has named one, and the bundled one answers.
        loading: how it is loaded.
        sampling: which frames are read.
        generation: how answers are generated.
        method: with the parameters that were given; None is the uncompressed model.
    """

    model: str | None
    loading: LoadOptions
    sampling: Sampling
    generation: Decoding
    method: choice.MethodChoice | None

    @property
    def model_name(self) -> str:
        """Of the model that answers."""
        return settings.BUNDLED if self.model is None else self.model

    def request(self, model: ChosenModel | LoadedModel | None = None) -> Request:
        """The request, with what suits the model in place of what wasn't given.

        Args:
            model: that was found; the uncompressed one needs none.

        Raises:
            UsageError: the model doesn't have a layer that was given.
        """
        from dycoke_cli.compression.base import Method
        from dycoke_cli.request import Request

        method = Method()
        if self.method is not None:
            assert model is not None
            method = self.method.for_model(model)
        return Request(
            model=self.model_name,
            loading=self.loading,
            sampling=self.sampling,
            method=method,
            generation=self.generation,
        )


def chosen(
    model: Model,
    placing: Placing,
    frames: Frames,
    answer: Answer,
    method: Method | None = None,
    *,
    random_weights: bool = False,
) -> Chosen:
    """What the flags of a command choose.

    Raises:
        UsageError: a value out of range, or two that contradict each other.
        ModelError: the settings can't be read.
    """
    return Chosen(
        generation=answer.generation(),
        loading=placing.options(random_weights=random_weights),
        sampling=frames.sampling(),
        method=None if method is None else method.choice(),
        model=model.chosen(),
    )
