"""Bearer tokens with scopes: read from a file or the environment, kept as digests only."""

import difflib
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cluster.durable import sync_folder, write_file
from cluster.ids import MAX_ID
from cluster.settings import Settings

SCOPES = ("write", "read", "admin")
"""What a token may do: send events, read everybody's timelines, everything."""
OF_USER = "read:user:"
"""With a user's id behind it, a scope too: read what is that user's own, and nothing else."""
BY_USER = "write:user:"
"""The same: send what that user does (`cluster.own_events`), and nothing else."""
TOKENS_VARIABLE = "MURMURATION_TOKENS"
"""Environment: `token:scope,scope;token:scope`. Where it is set, no file is read."""

_SHAPE = re.compile(r"[A-Za-z0-9._~+/-]{16,256}=*")


class TokensError(ValueError):
    """Tokens that cannot be used. The message says where, and never shows a token."""


class Tokens:
    """Says what the holder of a token may do, in a time that does not depend on the token."""

    def __init__(self, scopes_of_token: Mapping[str, Iterable[str]]) -> None:
        self._scopes = [
            (_digest(token), _implied(scopes)) for token, scopes in scopes_of_token.items()
        ]

    def scopes_of(self, token: str) -> frozenset[str] | None:
        """Scopes of a token, or None for an unknown one; `admin` implies the others."""
        digest = _digest(token)
        found: frozenset[str] | None = None
        for known, scopes in self._scopes:
            if hmac.compare_digest(known, digest):
                found = scopes
        return found


def of_user(user_id: int) -> str:
    """The scope that reads what is this user's own: `read:user:ID`."""
    return f"{OF_USER}{user_id}"


def may_read(scopes: Collection[str], user_id: int) -> bool:
    """Whether these scopes read what is this user's own."""
    return "read" in scopes or of_user(user_id) in scopes


def writes_for(scopes: Collection[str]) -> frozenset[int] | None:
    """For which users alone these scopes send events, if for any; None: for everybody."""
    if "write" in scopes:
        return None
    return frozenset(
        int(scope.removeprefix(BY_USER)) for scope in scopes if scope.startswith(BY_USER)
    )


def scope_of(word: str) -> str:
    """A scope in its one spelling. Raises `TokensError` for a word that is none."""
    if word in SCOPES:
        return word
    for start in (OF_USER, BY_USER):
        if word.startswith(start):
            digits = word.removeprefix(start)
            plain = digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MAX_ID))
            if plain and 1 <= int(digits) <= MAX_ID:
                return f"{start}{int(digits)}"
            raise TokensError(f"{word!r} names no user: give an id from 1 to 2^63−1")
    if re.fullmatch("(read|write)(:user)?(:[0-9]*)?|user(:[0-9]*)?", word):
        start = BY_USER if word.startswith("write") else OF_USER
        near = f"{start}{re.sub('[^0-9]', '', word) or 'ID'}"
    else:
        near = next(iter(difflib.get_close_matches(word, SCOPES, n=1)), "")
    hint = f"; did you mean {near!r}?" if near else ""
    raise TokensError(f"{word!r} is no scope ({', '.join(SCOPES)}, {OF_USER}ID, {BY_USER}ID){hint}")


def load_tokens(settings: Settings) -> Tokens:
    """The tokens of a system: from the environment if it names any, else from the file.

    Raises `TokensError`, also for a file that others than its owner can read.
    """
    given = os.environ.get(TOKENS_VARIABLE)
    if given:
        pairs = [pair.strip().partition(":") for pair in given.split(";") if pair.strip()]
        entries = [
            _Entry(f"{TOKENS_VARIABLE}, entry {number}", token, words)
            for number, (token, _, words) in enumerate(pairs, 1)
        ]
        return _tokens(entries, TOKENS_VARIABLE)
    path = tokens_path(settings)
    entries = []
    for number, line in enumerate(_read_private(path).splitlines(), 1):
        token, *words = line.partition("#")[0].split(None, 1) or [""]
        if token:
            entries.append(_Entry(f"{path}, line {number}", token, "".join(words)))
    return _tokens(entries, str(path))


def tokens_path(settings: Settings) -> Path:
    """Where the tokens file lies."""
    return settings.http.tokens_file or settings.data_dir / "tokens"


def ensure_tokens(path: Path) -> bool:
    """Make a tokens file (mode 600) with one token a scope; returns False where one exists."""
    lines = [f"{secrets.token_urlsafe(32)} {scope}\n" for scope in SCOPES]
    head = "# Tokens of the HTTP API: `token scope,scope` a line. Keep this file private.\n"
    return _create_private(path, (head + "".join(lines)).encode())


def add_token(path: Path, scopes: Iterable[str]) -> str:
    """Make a token of these scopes, add it to the file, and return it.

    A file that is missing is made as by `ensure_tokens`. Raises `TokensError` for a scope that
    there is not, for none, for a file that others can read, and where the environment holds the
    tokens and no file is read.
    """
    words = list(dict.fromkeys(map(scope_of, scopes)))
    if not words:
        raise TokensError("no scope was given")
    if os.environ.get(TOKENS_VARIABLE):
        raise TokensError(f"{TOKENS_VARIABLE} is set, so no file is read: add the token there")
    ensure_tokens(path)
    whole = _read_private(path).endswith("\n")
    token = secrets.token_urlsafe(32)
    # One write at the end: whoever adds another token at the same time loses none.
    with path.open("ab", buffering=0) as file:
        file.write(f"{'' if whole else chr(10)}{token} {','.join(words)}\n".encode())
        os.fsync(file.fileno())
    return token


def ensure_secret(path: Path) -> bytes:
    """The 32 secret bytes in a file of mode 600, made where it is missing.

    Raises `TokensError` for a file that others can read, or that is too short.
    """
    _create_private(path, secrets.token_hex(32).encode())
    content = _read_private(path)
    try:
        secret = bytes.fromhex(content.strip())
    except ValueError as error:
        raise TokensError(f"{path}: is not a secret in hexadecimal") from error
    if len(secret) < 32:
        raise TokensError(f"{path}: {len(secret)} bytes are too few for a secret, expected 32")
    return secret


class _Entry(NamedTuple):
    place: str
    token: str
    words: str


def _tokens(entries: Iterable[_Entry], origin: str) -> Tokens:
    scopes_of_token: dict[str, list[str]] = {}
    for place, token, words in entries:
        scopes = [word.strip() for word in words.split(",") if word.strip()]
        if not _SHAPE.fullmatch(token):
            raise TokensError(
                f"{place}: a token has 16 to 256 of the characters A–Z a–z 0–9 - . _ ~ + /"
            )
        if not scopes:
            raise TokensError(f"{place}: no scope; write `token {','.join(SCOPES)}` or fewer")
        try:
            scopes = [scope_of(scope) for scope in scopes]
        except TokensError as error:
            raise TokensError(f"{place}: {error}") from error
        if token in scopes_of_token:
            raise TokensError(f"{place}: the same token again")
        scopes_of_token[token] = scopes
    if not scopes_of_token:
        raise TokensError(f"{origin}: holds no token")
    return Tokens(scopes_of_token)


def _implied(scopes: Iterable[str]) -> frozenset[str]:
    return frozenset(SCOPES if "admin" in scopes else scopes)


def _digest(token: str) -> bytes:
    # Digests have one length, and a dump of this process's memory holds no token of the file.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        content = path.read_text()
    except OSError as error:
        raise TokensError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TokensError(f"{path}: is not text") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise TokensError(
            f"{path}: others can read it (mode {stat.S_IMODE(mode):o}); run `chmod 600 {path}`"
        )
    return content


def _create_private(path: Path, content: bytes) -> bool:
    """Make a file of mode 600 unless there is one; nobody ever sees half of it."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        write_file(new, content)
        os.link(new, path)
    except FileExistsError:
        return False
    finally:
        new.unlink()
    sync_folder(path.parent)
    return True
