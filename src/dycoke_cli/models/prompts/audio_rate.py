"""Audio sampling rate that a model needs, read from its files; imports no torch."""

from __future__ import annotations

from dataclasses import replace

from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import ModelRef, find
from dycoke_cli.models.families.table import FAMILIES
from dycoke_cli.models.files.hub import small_files
from dycoke_cli.models.files.on_disk import folder_of
from dycoke_cli.models.files.small_files import CONFIG, UnreadableError, read_json
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.video.sampling import Sampling

# Files that may hold the settings of the audio feature extractor.
_FILES = ("processor_config.json", "preprocessor_config.json")
# Keys of an audio encoder in config.json; published checkpoints of Nemotron-H Omni use the second.
_ENCODERS = ("audio_config", "sound_config")


def listening(sampling: Sampling, model: str | ModelRef, loading: LoadOptions) -> Sampling:
    """The sampling with the rate of the audio that is read of each video."""
    if sampling.audio is False or sampling.audio_rate is not None:
        return sampling
    rate = None if loading.random_weights else audio_rate(model, loading.revision)
    if rate is None and sampling.audio:
        name = model if isinstance(model, str) else model.name
        raise UsageError(f"--audio: the model {name} takes no audio with a video; leave it out")
    return replace(sampling, audio_rate=rate)


def audio_rate(model: str | ModelRef, revision: str | None = None) -> int | None:
    """Sampling rate of a model's audio input, in Hz; None if it has none.

    Listed families have none: their prompts are made without the stock processor, of frames only.
    """
    source = find(model) if isinstance(model, str) else model
    if source.entry is not None:  # all of the catalog are listed
        return None
    try:
        folder = folder_of(source) or small_files(source, revision)
        config = read_json(folder / CONFIG)
        if "thinker_config" in config:
            config = config["thinker_config"]
        hears = any(config.get(name) is not None for name in _ENCODERS)
        if not hears or config.get("model_type") in FAMILIES:
            return None
        for name in _FILES:
            if (folder / name).is_file():
                stored = read_json(folder / name)
                rate = stored.get("feature_extractor", stored).get("sampling_rate")
                if isinstance(rate, int) and rate > 0:
                    return rate
    except (UnreadableError, AttributeError, TypeError):  # loading it says what is wrong
        return None
    return None
