"""Flags that belong together and that several commands have; `spread` puts them in a signature."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.cli import choice, method_flags, options
from dycoke_cli.cli.spread import Each
from dycoke_cli.compression.registry import DEFAULT
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions

if TYPE_CHECKING:
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
    """Which visual tokens are dropped."""

    method: method_flags.MethodName = DEFAULT
    parameters: Annotated[dict[str, Any], Each(method_flags.options())] = field(
        default_factory=dict
    )

    def choice(self) -> method_flags.MethodChoice:
        """What they choose.

        Raises:
            UsageError: a parameter that the method hasn't got, out of range, or in contradiction.
        """
        return method_flags.choice_of(self.method, self.parameters)


@dataclass(frozen=True)
class Answer:
    """How to answer."""

    max_new_tokens: options.MaxNewTokens = 128
    temperature: options.Temperature = 0.0
    seed: options.Seed = None

    def choice(self) -> choice.AnswerChoice:
        """What they choose.

        Raises:
            UsageError: a value out of range.
        """
        return choice.AnswerChoice(**asdict(self))
