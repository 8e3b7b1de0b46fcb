"""The word-level tokenizer of the bundled model, as an ordinary fast tokenizer.

Questions are lower-cased before they are looked up. An answer's first word has a token of its own
with a capital ("It", "The"), which no question can hold: so answers read as sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dycoke_cli.shapes.script import LETTERS
from training.world.script_questions import OPENERS, lines

PAD, UNKNOWN, OPEN, CLOSE = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"
IMAGE, VIDEO = "<image>", "<video>"
SPECIAL = (PAD, UNKNOWN, OPEN, CLOSE, IMAGE, VIDEO)
OPENING = (OPEN, "user")  # the tokens of a prompt before the first visual one
BLANK = "▁"  # before a word, as the shipped vocabulary has it (`forms`)
ROLES = ("user", "assistant", "system")
# A word or a mark, as the tokenizer splits text.
WORD = r"\w+|[^\w\s]+"
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
    listed = [*SPECIAL, *ROLES, *words(), *OPENERS, *LETTERS]
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


def words() -> list[str]:
    """Every word that a question or an answer can hold, marks included, lower case, sorted."""
    plain = re.sub(r"\{.\}", " ", " ".join(lines())).lower()
    return sorted(set(re.findall(WORD, plain)))


class Codec:
    """Ids of questions and answers as they stand behind a video in the chat template.

    Attributes:
        text: the ids of a text; those of a text's beginning are the first of them, where it ends
            with a word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self.text = lru_cache(maxsize=65536)(self._text)
        self.prefix = [self._ids[token] for token in OPENING]
        self.video = self._ids[VIDEO]
        self.pad: int = tokenizer.pad_token_id
        self.close = self._ids[CLOSE]
        self._asks, self._answers = (
            self._text(f"{CLOSE}\n{OPEN}{role}\n") for role in ("user", "assistant")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # What it remembers can't be pickled: a process that makes batches begins anew.
        return type(self), (self._tokenizer,)

    def question(self, text: str, earlier: tuple[tuple[str, str], ...] = ()) -> list[int]:
        """All that stands between the video and the answer, earlier turns included."""
        ids: list[int] = []
        for asked, answered in earlier:
            ids += [*self.text(asked), *self._answers, *self.text(answered), *self._asks]
        return [*ids, *self.text(text), *self._answers]

    def before(self, texts: Sequence[str]) -> int:
        """How many tokens earlier questions and answers take, in turns."""
        taken = zip(texts, cycle([self._answers, self._asks]), strict=False)
        return sum(len(self.text(text)) + len(behind) for text, behind in taken)

    def answer(self, text: str) -> list[int]:
        """The answer with the end token. KeyError where a word isn't in the vocabulary."""
        return [*(self._ids[part] for part in re.findall(WORD, text)), self.close]

    def _text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
