"""What `dycoke tune` stored for a model, as the method and the guards of a request."""

from __future__ import annotations

from dataclasses import replace

from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.guard.ladder import Guard, guard_of
from dycoke_cli.guard.tuned import Tuning, stored, tuning_of
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files.on_disk import dtype_here, stored_config
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.param import key_part
from dycoke_cli.request import Request


def tuning_for(request: Request, flag: str, *, guarded: bool) -> Tuning:
    """Stored result of `dycoke tune` for the model and the kind of question of a request."""
    if request.loading.random_weights:
        raise UsageError(f"{flag} needs a tuned model, and random weights can't be tuned")
    typed = request.generation.typed is not None
    typed = typed and (guarded or stored(request.model, typed=True) is not None)
    return tuning_of(request.model, typed=typed)


def tuned(request: Request, tuning: Tuning) -> Request:
    """Request with the method that `dycoke tune` chose, and warnings about other options."""
    cautions = differences(request, tuning)
    return replace(request, method=tuning.chosen(), tuned=tuning.tuned, cautions=cautions)


def differences(request: Request, tuning: Tuning) -> tuple[str, ...]:
    """Sentences about options that differ from those of the tuning."""
    typed = request.generation.typed
    options = typed if isinstance(typed, TypedOptions) else None
    about = _weights(request), key_part(request.sampling), options
    return tuple(tuning.differences(*about))


def _weights(request: Request) -> str:
    """Quantization, or the dtype that loading will choose; "auto" if it isn't known."""
    loading, source = request.loading, find(request.model)
    stored = stored_config(source)
    if loading.quantize is not None or stored is None:
        return loading.quantize or loading.dtype
    target = Target.of(loading.device, None, this_machine())
    return dtype_here(source, stored, loading, target).name


def check_guarded(request: Request) -> None:
    """Check that the certainty of the answers is one that `dycoke tune` calibrates."""
    generation = request.generation
    # The bound was calibrated on greedy answers.
    if generation.temperature > 0:
        raise UsageError("--guard is for greedy answers; leave --temperature out")
    if isinstance(generation.typed, OpenNumber):
        raise UsageError(
            "--guard is calibrated for given options, and --number has none; name the numbers, as "
            "in --score 0-20"
        )
    # The mask of a form changes the probabilities of the tokens, in another way for each schema.
    if generation.structured is not None:
        raise UsageError(
            "--guard has no threshold for objects: how certain their tokens are depends on the "
            "schema, and `dycoke tune` calibrates words and options; leave it out, or --schema and "
            "--fields"
        )


def guards_with(
    tuning: Tuning, bound: float | None, on_average: float | None
) -> tuple[tuple[Guard, ...], tuple[str, ...]]:
    """Guards of `--guard` and `--guard-mean`, and warnings where one always keeps all tokens."""
    bounds = [(alpha, n == 1) for n, alpha in enumerate((bound, on_average)) if alpha is not None]
    pairs = [guard_of(tuning, *each) for each in bounds]
    return tuple(guard for guard, _ in pairs), tuple(caution for _, caution in pairs if caution)
