"""Tokens by which the word-level model writes forms, such as JSON, though it never learned any.

They stand behind its words, and a form's grammar chooses among them. The model reads each as
something that it knows, and each is as likely as a word, or as the mean of several, a little less
so: as long as the likeliest word has a logit above 0, none of them is likelier. `suppress_tokens`
of the checkpoint rules them out wherever there is no form, and no text is read as them. So nothing
that the model does without a form changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.checkpoints import start_from, write_checkpoint
from training.model import new_model
from training.tokenizer import BLANK, CLOSE, SPECIAL, UNKNOWN, build_tokenizer
from training.world.script_questions import OPENERS

SHARE = 15 / 16
BEGINNING = "assistant"  # the last token of a prompt: what follows begins an answer
END = "."  # behind which the model ends its answer
COUNTS = ("Nothing", "One", "Two", "Three", "Four", "Five", "Six")
BYTES = 0xF5  # UTF-8 has none above


@dataclass(frozen=True)
class FormToken:
    """A token of forms."""

    piece: str  # in the vocabulary
    read_as: str  # the word whose embedding it has
    as_likely_as: tuple[str, ...]  # the words whose output rows it has the mean of


def form_tokens(words: list[str]) -> list[FormToken]:
    """The tokens of forms: all bytes; words without a blank before them; what values begin with.

    A digit, a truth value and a closing bracket are read as the end of a sentence, behind which the
    end is likeliest; and a closing mark is as likely as the end. So numbers, lists and objects end.
    """
    digits = {
        str(number): (COUNTS[number],) if number < len(COUNTS) else (str(number), UNKNOWN)
        for number in range(10)
    }
    likely: dict[str, tuple[str, ...]] = digits | {" ": OPENERS, "{": OPENERS}
    likely |= dict.fromkeys('"]}', (CLOSE,)) | {",": (CLOSE, UNKNOWN)}
    found = [
        FormToken(
            f"<0x{byte:02X}>",
            END if chr(byte) in "]}0123456789" else BEGINNING,
            likely.get(chr(byte), (UNKNOWN,)),
        )
        for byte in range(BYTES)
    ]
    for word in filter(str.isalpha, words):
        found += [FormToken(word, word, (word,)), FormToken(f'"{word}', word, (word,))]
    found += [FormToken("true", END, ("Yes",)), FormToken("false", END, ("No",))]
    found += [FormToken(f" {digit}", END, said) for digit, said in digits.items()]
    return [*found, FormToken('": ', BEGINNING, OPENERS)]


def form_tokenizer(plain: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer that reads as the plain one does, to the same ids, and writes forms as well.

    A word has the blank before it in its piece: so the text of tokens is that of their pieces, as
    the library of forms takes it to be, and not joined by blanks.
    """
    words = _words(plain)
    pieces = [word if word in SPECIAL else BLANK + word for word in words]
    pieces += [token.piece for token in form_tokens(words)]
    core = Tokenizer.from_str(plain.backend_tokenizer.to_str())
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    core.model = models.WordLevel(vocabulary, unk_token=UNKNOWN)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace(BLANK, "always", split=False)]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(rf"{BLANK}(?=[.,?!])"), ""),
            decoders.Replace(BLANK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=plain.pad_token,
        unk_token=plain.unk_token,
        eos_token=plain.eos_token,
        model_max_length=plain.model_max_length,
        padding_side=plain.padding_side,
        chat_template=plain.chat_template,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=plain.init_kwargs["extra_special_tokens"],
    )


def export_forms(checkpoint: Path, out: Path = BUNDLED_CHECKPOINT) -> int:
    """Write the bundled model of a checkpoint, with the tokens of forms; returns its bytes.

    Args:
        checkpoint: as `export` writes it, or with tokens of forms already, which are made anew.
    """
    plain = build_tokenizer()
    tokenizer, words = form_tokenizer(plain), _words(plain)
    ids = {word: number for number, word in enumerate(words)}
    small, model = new_model(plain), new_model(tokenizer)
    start_from(small, plain, checkpoint)
    weights = small.state_dict()
    tokens = form_tokens(words)
    read = [ids[token.read_as] for token in tokens]
    for name, weight in weights.items():
        if name.endswith("embed_tokens.weight"):
            weights[name] = torch.cat([weight, weight[read]])
        elif name.endswith("lm_head.weight"):
            means = [weight[[ids[word] for word in token.as_likely_as]].mean(0) for token in tokens]
            weights[name] = torch.cat([weight, SHARE * torch.stack(means)])
    model.load_state_dict(weights)
    model.generation_config.suppress_tokens = [*range(len(words), len(tokenizer))]
    return write_checkpoint(model, out, tokenizer=tokenizer)


def _words(plain: PreTrainedTokenizerFast) -> list[str]:
    """The vocabulary by its ids."""
    found: list[str] = plain.convert_ids_to_tokens([*range(len(plain))])
    return found
