"""Post texts as the safety models read them: one form for all disguises of a word."""

import html
import re
import unicodedata
from collections.abc import Sequence

MAX_CHARACTERS = 2_000
"""What comes after these is not read (the original reads 100 to 256 tokens)."""
URL, MENTION = "\ue000", "\ue001"
"""Stand for any link and for any user, so that no model learns to dislike one."""
SEPARATOR = "\x1e"
"""Between two texts of a batch; Unicode's record separator, which no text may hold."""


def normal_forms(texts: Sequence[str]) -> str:
    """The normal forms of all texts, one `SEPARATOR` between two of them.

    Words are in lower case with a space between two of them. Entities are resolved, a
    retweet's prefix is dropped, links and mentions become `URL` and `MENTION`, emojis stand
    alone (the original's cleaning). Then disguises are taken off: look-alike letters of other
    alphabets and styles, marks on letters, invisible characters, letters spaced out
    (`s t u p i d`), digits and signs for letters (`stup1d`), and repeats: a word with a letter
    thrice or more in a row is given with that letter twice, and the text again with it once,
    since either may be how the word is written (`assss`, `stuuupid`).

    Every step takes time proportional to the text, whatever it holds.
    """
    joined = SEPARATOR.join([text[:MAX_CHARACTERS] for text in texts])
    if joined.count(SEPARATOR) >= max(len(texts), 1):
        clean = [text[:MAX_CHARACTERS].replace(SEPARATOR, " ") for text in texts]
        joined = SEPARATOR.join(clean)
    if "&" in joined:
        joined = html.unescape(joined)
    joined = _RETWEET.sub(r"\1", joined)
    joined = _MENTION.sub(f" {MENTION} ", _URL.sub(f" {URL} ", joined))
    joined = unicodedata.normalize("NFKD", joined).translate(_FOLDED).lower().replace("'", "")
    joined = _SPACED_OUT.sub(lambda found: found.group().replace(found.group(1), ""), joined)
    joined = _LEET.sub(lambda found: found.group().translate(_LETTER_OF_SIGN), joined)
    joined = _EMOJI.sub(r" \1 ", joined)
    joined = _SPACES.sub(" ", _PUNCTUATION.sub(" ", joined))
    if _REPEATED.search(joined) is None:
        return joined
    twice = _REPEATED.sub(r"\1\1", joined).split(SEPARATOR)
    once = _REPEATED.sub(r"\1", joined).split(SEPARATOR)
    both = [a if a == b else f"{a} {b}" for a, b in zip(twice, once, strict=True)]
    return SEPARATOR.join(both)


_RETWEET = re.compile(rf'(^|{SEPARATOR})[ !"“”.]{{0,50}}RT @\w{{1,30}}:?')
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w+")
# The same separator between all of three or more single signs.
_SPACED_OUT = re.compile(
    r"(?<![\w$@])(?:[^\W_]|[$@])([ ._*~|/-]{1,3})(?:[^\W_]|[$@!])(?:\1(?:[^\W_]|[$@!]))+(?!\w)"
)
# Between two letters, one before a word, or up to two after it: numbers stay numbers.
_LEET = re.compile(
    r"(?<=[a-z])[0134579@$!|€¢]+(?=[a-z])"
    r"|(?<![\w$@!])[$0134579](?=[a-z]{2})"
    r"|(?<=[a-z])[03457$]{1,2}(?![\w$@])"
)
_LETTER_OF_SIGN = str.maketrans("0134579@$!|€¢", "oieastgasiiec")
_EMOJI = re.compile("([\u2600-\u27bf\U0001f1e6-\U0001faff])")
# Signs between words in any script; a star may stand for a letter, as in `st*pid`.
_PUNCTUATION = re.compile(
    r"[!-)+-/:-@\[-`{-~\xa1-\xbf\xd7\xf7\u0964\u0965\u060c\u061b\u061f\u06d4"
    r"\u2010-\u205e\u3001-\u303f\u30fb]+"
)
_SPACES = re.compile(rf"[^\S{SEPARATOR}]+")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")

_INVISIBLE = (
    *((0x00, 0x08), (0x0E, 0x1D), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C)),
    *((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180E), (0x200B, 0x200F)),
    *((0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xE0000, 0xE01EF)),
)
_MARKS = (
    *((0x300, 0x36F), (0x483, 0x489), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF)),
    *((0x20D0, 0x20FF), (0xFE20, 0xFE2F)),
)
# Letters that pass for Latin ones, after decomposition; capitals by their own look.
_LOOK_ALIKES = (
    ("авекмнорстухіјѕһԁԛԝѵ", "abekmhopctyxijshdqwv"),
    ("АВЕКМНОРСТУХІЈЅҺԌԚԜѴ", "abekmhopctyxijshgqwv"),
    ("αβγεικνορτυχω", "abyeikvoptuxw"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx"),
    ("ıłøđðɑɡɩɪʟɴʀʏʜʙɢŁØĐƒʋʍɐǝɔɯɹʇʌʎ", "iloddagiilnryhbglodfvwaecmrtvy"),
    ("ᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜰꜱ", "acdejkmoptuvwzfs"),
    ("’‘ʼ`´", "'''''"),
)


def _folding() -> dict[int, str | None]:
    """Character → what it is read as, beyond what compatibility decomposition does."""
    fold: dict[int, str | None] = {}
    for first, last in (*_INVISIBLE, *_MARKS):
        fold |= dict.fromkeys(range(first, last + 1))
    for likes, letters in _LOOK_ALIKES:
        fold |= {ord(like): letter for like, letter in zip(likes, letters, strict=True)}
    for first in (0x1F150, 0x1F170):  # white letters in black circles and squares
        fold |= {first + i: chr(ord("a") + i) for i in range(26)}
    return fold | {ord("ß"): "ss", ord("æ"): "ae", ord("Æ"): "ae", ord("œ"): "oe", ord("Œ"): "oe"}


_FOLDED = _folding()
