"""The word-level tokenizer of the bundled model, as an ordinary fast tokenizer.

Questions are lower-cased before they are looked up. An answer's first word has a token of its own
with a capital ("It", "The"), which no question can hold: so answers read as sentences.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dycoke_cli.models.mini.questions import OPENERS, words

PAD, UNKNOWN, OPEN, CLOSE = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"
IMAGE, VIDEO = "<image>", "<video>"
SPECIAL = (PAD, UNKNOWN, OPEN, CLOSE, IMAGE, VIDEO)
ROLES = ("user", "assistant", "system")
CONTEXT = 2048
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\n' }}{% endif %}"
    "{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made anew; the same each time."""
    listed = [*SPECIAL, *ROLES, *words(), *OPENERS]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(listed))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    # Joins words with blanks and takes out those before a full stop, a comma or a question mark.
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=CLOSE,
        model_max_length=CONTEXT,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"open_token": OPEN, "image_token": IMAGE, "video_token": VIDEO},
    )


class Codec:
    """Ids of questions and answers as they stand behind a video in the chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self.question = lru_cache(maxsize=65536)(self._question)
        self.answer = lru_cache(maxsize=65536)(self._answer)
        self.prefix = [self._ids[OPEN], self._ids["user"]]
        self.video = self._ids[VIDEO]
        self.pad = self._ids[PAD]

    def _question(self, text: str) -> tuple[int, ...]:
        """All that stands between the video and the answer."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self._ids[CLOSE], self._ids[OPEN], self._ids["assistant"])

    def _answer(self, text: str) -> tuple[int, ...]:
        """The answer with the end token. KeyError where a word isn't in the vocabulary."""
        parts = re.findall(r"\w+|[^\w\s]", text)
        return (*(self._ids[part] for part in parts), self._ids[CLOSE])
