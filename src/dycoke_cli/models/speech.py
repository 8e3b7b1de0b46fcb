"""What is said in a video, as subtitles (`--subtitles speech`).

A Whisper model in the format of CTranslate2 hears the sound, which the sandboxed process of the
video decodes; faster-whisper gets arrays and never a file. Its voice activity filter leaves out
silence and noise. What is left is heard in stretches of at most half a minute, so that an hour
takes no more memory than a minute.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import MismatchError, from_dict, parse, to_dict
from dycoke_cli.errors import ModelError, UsageError, need
from dycoke_cli.models.catalog import ModelRef
from dycoke_cli.models.files import small_files
from dycoke_cli.models.files.hub import asking, explained, folder_of
from dycoke_cli.models.resolve import folder_fingerprint
from dycoke_cli.resources import usable_cpus
from dycoke_cli.storage.cache_folder import CacheFiles, kept, write_whole
from dycoke_cli.storage.output_file import read_own
from dycoke_cli.unicode import display_name, for_model, to_json
from dycoke_cli.video.decoder import OpenClip
from dycoke_cli.video.limits import RATE
from dycoke_cli.video.subtitles import Line, Subtitles, SubtitleSource

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.clip import Clip
    from dycoke_cli.video.pictures import PictureReader

OnHeard = Callable[[int, int], None]  # with the second up to which it was heard, and the last
_WEIGHTS, _PREPROCESSOR = "model.bin", "preprocessor_config.json"
_FILES = (small_files.CONFIG, _WEIGHTS, small_files.TOKENIZER)
# Sizes of every Whisper model, by which faster-whisper allocates.
_SIZES = {"chunk_length": 30, "hop_length": 160, "n_fft": 400, "sampling_rate": RATE}
_LONGEST_S = 28  # of a stretch that is heard at once
_PAUSE_MS = 1000  # between two stretches
_HOW = {"temperature": 0.0, "condition_on_previous_text": False}  # the same text each time
# Beyond these a text has failed (2212.04356, section 4.5).
_LEAST_LOG_PROBABILITY, _MOST_COMPRESSION = -1.0, 2.4
_SURE = 0.5  # from this probability on, a language is that of all that follows
_MOST_BYTES = 64 * 1024**2  # of all transcripts that are kept
_LOADING = threading.Lock()  # else two videos that are read at once would load two


@dataclass(frozen=True)
class SpeechModel:
    """A speech model whose files are there and checked."""

    source: ModelRef
    folder: Path
    identity: str  # tells its files from those of others


def speech_model(name: str) -> SpeechModel:
    """The model of a folder or of the hub, from which it is downloaded unless it is there."""
    need("faster_whisper", "speech", "--subtitles speech")
    from huggingface_hub import snapshot_download

    place = Path(name)
    local = place.is_dir()
    repo = name if local or "/" in name else f"Systran/faster-{name}"
    # By the name of its folder alone: who asks a server needn't know where its files are.
    named = display_name(place.resolve().name if local else name)
    source = ModelRef(named, repo, None, local, flag="--speech-model")
    shown = f"the speech model {named}"
    folder = folder_of(source)
    if folder is None or not (source.local or (folder / _WEIGHTS).exists()):
        patterns = [*_FILES, _PREPROCESSOR, "vocabulary.*"]
        with asking(source):
            folder = Path(snapshot_download(repo, allow_patterns=patterns))
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise ModelError(
            f"{shown} has no {missing[0]}, so it isn't Whisper in the format of CTranslate2: "
            "`ct2-transformers-converter --model openai/whisper-small --copy_files tokenizer.json "
            "preprocessor_config.json --output_dir whisper` makes a folder of it"
        )
    small_files.check_small_files(shown, folder)
    small_files.check_weights(shown, folder, [_WEIGHTS])
    small_files.check_tokenizer(shown, folder / small_files.TOKENIZER)
    file = folder / _PREPROCESSOR
    if file.exists() and not _SIZES.items() <= {**_SIZES, **small_files.read_json(file)}.items():
        raise ModelError(f"{shown} has a {file.name} that is none of Whisper's; remove it")
    return SpeechModel(source, folder, folder_fingerprint(folder, (".bin", ".json", ".txt")))


@lru_cache(maxsize=1)
def _loaded(model: SpeechModel) -> Any:
    """The model in memory, in 8 bits on the processor."""
    from faster_whisper import WhisperModel

    how: dict[str, Any] = {"compute_type": "int8", "cpu_threads": usable_cpus()}
    with explained(model.source, "its weights"):
        return WhisperModel(str(model.folder), "cpu", **how)


def hear(
    model: SpeechModel,
    sound: Iterator[np.ndarray],
    part_s: tuple[float, float],
    language: str | None,
    on_heard: OnHeard,
) -> Subtitles:
    """What is said in a part, whose samples at `RATE`, float32 `[N]`, come one behind the other.

    Its source is the language, and its warnings follow the name of the video.
    """
    lines, notes = list[Line](), set[str]()
    with _LOADING:
        whisper = _loaded(model)
    if language not in (None, *whisper.supported_languages):
        raise UsageError(
            f"--subtitles speech:{language}: the speech model {model.source.name} doesn't know "
            f"this language; leave :{language} out"
        )
    for start_s, stretch in _stretches(sound, part_s, on_heard):
        segments, about = whisper.transcribe(stretch, language=language, **_HOW)
        for one in segments:
            failed = one.avg_logprob < _LEAST_LOG_PROBABILITY
            if failed or one.compression_ratio > _MOST_COMPRESSION:
                notes.add("has speech that the model doesn't understand, left out")
            elif text := for_model(" ".join(one.text.split())):
                # The model hears half a minute, filled up; so may its end be.
                end_s = start_s + min(one.end, len(stretch) / RATE)
                lines.append(Line(min(start_s + one.start, end_s), end_s, text))
                if about.language_probability >= _SURE:
                    language = about.language
    return Subtitles(language or "", tuple(lines), tuple(notes))


def _stretches(
    sound: Iterator[np.ndarray], part_s: tuple[float, float], on_heard: OnHeard
) -> Iterator[tuple[float, np.ndarray]]:
    """The stretches with speech, each with the time of its start."""
    import numpy as np
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(min_silence_duration_ms=_PAUSE_MS, max_speech_duration_s=_LONGEST_S)
    waiting, (begin_s, end_s) = np.zeros(0, np.float32), part_s
    for piece in chain(sound, (None,)):
        there = waiting if piece is None else np.concatenate((waiting, piece))
        speech, done = get_speech_timestamps(there, options) if there.any() else [], len(there)
        # What may go on behind the end is heard with that.
        if piece is not None and speech and done - speech[-1]["end"] < RATE * _PAUSE_MS // 1000:
            done = speech.pop()["start"]
        for each in speech:
            yield begin_s + each["start"] / RATE, there[each["start"] : each["end"]]
        waiting, begin_s = there[done:], begin_s + done / RATE
        on_heard(int(begin_s), int(end_s))


def with_speech(
    clip: Clip,
    opened: OpenClip | PictureReader,
    source: SubtitleSource | None,
    on_heard: OnHeard = lambda done, total: None,
) -> Clip:
    """A clip that was read of a video that is still open, with what is said if that is wanted."""
    if source is None or source.speech is None or not isinstance(opened, OpenClip):
        return clip
    model, name = speech_model(source.speech), clip.info.path
    part_s = clip.part_s or (0.0, clip.info.duration_s or 0.0)
    about = repr((opened.digest(), model.identity, source.language, part_s))
    files = CacheFiles(kept("transcripts"), ".json", _MOST_BYTES)
    file = files.path(hashlib.sha256(about.encode()).hexdigest())
    try:
        found: Subtitles = from_dict(Subtitles, parse(read_own(file).encode()))
        files.note_use(file)
    except (OSError, ValueError, MismatchError):
        found = hear(model, opened.sound(part_s), part_s, source.language, on_heard)
        silent = () if found.lines or opened.notes or found.warnings else ("has no audible speech",)
        found = replace(found, warnings=(*opened.notes, *found.warnings, *silent))
        with suppress(OSError):  # the next run hears it again
            write_whole(file, to_json(to_dict(found)))
            files.trim()
    warnings = (*clip.warnings, *(f"{name} {note}" for note in found.warnings))
    if not found.lines:
        return replace(clip, warnings=warnings)
    by = f"{model.source.name}, language {found.source}"
    shown = Subtitles(f"the speech in {name} ({by})", found.lines).at(clip.timestamps_s)
    return replace(clip, subtitles=shown, warnings=(*warnings, *shown.warnings))
