"""How many visual tokens a clip is, by the model's own processor: where the catalog has no rule."""

from __future__ import annotations

from transformers import AutoProcessor

from dycoke_cli.models.choosing import family_in
from dycoke_cli.models.frame_tokens import ClipTokens
from dycoke_cli.models.prompt import Frames, make_prompt
from dycoke_cli.models.quiet import quiet_libraries
from dycoke_cli.models.source import Source, explained, read_config


def count_tokens(source: Source, clip: Frames) -> ClipTokens:
    """The visual tokens of a clip; of a hub model, only its processor's files are downloaded.

    Args:
        source: the model.
        clip: the frames with their times.

    Raises:
        ModelError: its files can't be read, or it isn't supported.
    """
    config, commit = read_config(source)
    family = family_in(source, config)
    where = {} if source.local else {"revision": commit}
    with quiet_libraries():
        with explained(source, "its tokenizer and processor"):
            processor = AutoProcessor.from_pretrained(
                source.location, trust_remote_code=False, **where
            )
        prompt = make_prompt(processor, family, config, clip)
    return ClipTokens(prompt.frames, prompt.tokens_per_frame)
