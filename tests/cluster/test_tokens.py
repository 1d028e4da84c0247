"""Tokens: where they come from, what they allow, and what is refused."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.settings import Settings, load
from cluster.tokens import (
    TOKENS_VARIABLE,
    Tokens,
    TokensError,
    add_token,
    ensure_secret,
    ensure_tokens,
    load_tokens,
    may_read,
    of_user,
    tokens_path,
    writes_for,
)

ADA, BOB = "ada-0123456789abcdef", "bob-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_tokens_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKENS_VARIABLE, raising=False)


def system(folder: Path, content: str | None = None, mode: int = 0o600) -> Settings:
    """Settings of a system whose tokens file has this content."""
    settings = load(data_dir=folder)
    if content is not None:
        path = tokens_path(settings)
        path.write_text(content)
        path.chmod(mode)
    return settings


def test_scopes_of_a_file(tmp_path: Path) -> None:
    tokens = load_tokens(
        system(tmp_path, f"# who may what\n\n{ADA} write,read  # the app\n  {BOB}\tread , \n")
    )
    assert tokens.scopes_of(ADA) == {"write", "read"}
    assert tokens.scopes_of(BOB) == {"read"}
    assert tokens.scopes_of(ADA[:-1]) is None
    assert tokens.scopes_of("") is None


def test_admin_implies_all(tmp_path: Path) -> None:
    tokens = load_tokens(system(tmp_path, f"{ADA} admin"))
    assert tokens.scopes_of(ADA) == {"write", "read", "admin"}


def test_tokens_of_a_user(tmp_path: Path) -> None:
    tokens = load_tokens(system(tmp_path, f"{ADA} read:user:11\n{BOB} write, read:user:012\n"))
    ada, bob = tokens.scopes_of(ADA), tokens.scopes_of(BOB)
    assert ada == {"read:user:11"}
    assert bob == {"write", "read:user:12"}
    assert may_read(ada or (), 11)
    assert [user for user in (1, 11, 12, 111, 2**63 - 1) if may_read(bob or (), user)] == [12]


def test_a_users_token_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKENS_VARIABLE, f"{ADA}:read:user:11,read:user:12;{BOB}:read")
    tokens = load_tokens(system(tmp_path))
    assert tokens.scopes_of(ADA) == {"read:user:11", "read:user:12"}
    assert tokens.scopes_of(BOB) == {"read"}


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_who_may_read_whom(user: int, other: int) -> None:
    assert may_read({of_user(user)}, user)
    assert may_read({of_user(user)}, other) == (user == other)
    assert may_read({"read"}, user)
    assert not may_read({"write"}, user)


@pytest.mark.parametrize(
    ("scopes", "users"),
    [
        ("read", set()),
        ("read:user:11", set()),
        ("write:user:011", {11}),
        ("write:user:11,write:user:12,read:user:13", {11, 12}),
        ("write", None),
        ("write,write:user:11", None),
        ("admin", None),
    ],
)
def test_for_whom_a_token_writes(tmp_path: Path, scopes: str, users: set[int] | None) -> None:
    given = load_tokens(system(tmp_path, f"{ADA} {scopes}")).scopes_of(ADA)
    assert given is not None
    assert writes_for(given) == users
    assert not any(may_read(given, user) for user in users or ())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        *((f"read:user:{user}", "names no user") for user in ("", "0", "-1", "x", "1.0", "١")),
        (f"read:user:{2**63}", "names no user"),
        (f"read:user:{'9' * 5_000}", "names no user"),
        ("read:11", "did you mean 'read:user:11'"),
        ("user:11", "did you mean 'read:user:11'"),
        ("read:user", "did you mean 'read:user:ID'"),
        *((f"write:user:{user}", "names no user") for user in ("", "0", "-1", "x", 2**63)),
        ("write:11", "did you mean 'write:user:11'"),
        ("write:user", "did you mean 'write:user:ID'"),
        ("admin:user:11", r"is no scope \(write, read, admin, read:user:ID, write:user:ID\)"),
    ],
)
def test_scopes_of_users_that_are_refused(tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(TokensError, match=f"line 1: .*{message}"):
        load_tokens(system(tmp_path, f"{ADA} {word}\n"))
    with pytest.raises(TokensError, match=message):
        add_token(tmp_path / "other", [word])
    assert not (tmp_path / "other").exists()


def test_another_file(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    path.write_text(f"{ADA} read")
    path.chmod(0o600)
    assert load_tokens(load(data_dir=tmp_path, http={"tokens_file": path})).scopes_of(ADA)


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKENS_VARIABLE, f"{ADA}:write,read; {BOB}:admin;")
    tokens = load_tokens(system(tmp_path, "nonsense"))
    assert tokens.scopes_of(ADA) == {"write", "read"}
    assert tokens.scopes_of(BOB) == {"write", "read", "admin"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no token"),
        ("# nothing\n", "holds no token"),
        (f"\n{ADA}\n", "line 2: no scope"),
        (f"{ADA} raed\n", "line 1: 'raed' is no scope.*did you mean 'read'"),
        ("short read\n", "line 1: a token has 16 to 256"),
        ("0123456789abcdéf read\n", "line 1: a token has"),
        (f"{ADA} read\n{ADA} write\n", "line 2: the same token again"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(TokensError, match=message) as refused:
        load_tokens(system(tmp_path, content))
    assert ADA not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"tokens: cannot be read: No such file"):
        load_tokens(system(tmp_path))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(TokensError, match=r"others can read it.*chmod 600"):
        load_tokens(system(tmp_path, f"{ADA} read", mode))


@pytest.mark.parametrize(
    "given", ["nonsense", f"{ADA}:", f"{ADA}:rd", ";;", f"{ADA}:read;{ADA}:read"]
)
def test_environments_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(TOKENS_VARIABLE, given)
    with pytest.raises(TokensError, match=TOKENS_VARIABLE) as refused:
        load_tokens(system(tmp_path))
    assert ADA not in str(refused.value)


def test_tokens_are_made_once(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "new")
    path = tokens_path(settings)
    assert ensure_tokens(path)
    content = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not ensure_tokens(path)
    assert path.read_text() == content
    assert os.listdir(path.parent) == ["tokens"]
    lines = [line.split() for line in content.splitlines() if not line.startswith("#")]
    assert [scope for _, scope in lines] == ["write", "read", "admin"]
    tokens = load_tokens(settings)
    assert tokens.scopes_of(lines[0][0]) == {"write"}
    assert len({token for token, _ in lines}) == 3


def test_tokens_are_added(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "new")
    path = tokens_path(settings)
    ada = add_token(path, ["read:user:11", "write", "read:user:011"])
    first = path.read_text()
    assert len(first.splitlines()) == 5
    path.write_text(first.rstrip("\n"))
    bob = add_token(path, ["read:user:12"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == first + f"{bob} read:user:12\n"
    tokens = load_tokens(settings)
    assert tokens.scopes_of(ada) == {"read:user:11", "write"}
    assert tokens.scopes_of(bob) == {"read:user:12"}
    path.chmod(0o640)
    with pytest.raises(TokensError, match="others can read"):
        add_token(path, ["read"])


def test_tokens_added_at_once_are_all_kept(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        users = range(1, 41)
        made = list(pool.map(lambda user: add_token(tokens_path(settings), [of_user(user)]), users))
    tokens = load_tokens(settings)
    assert [tokens.scopes_of(one) for one in made] == [{of_user(user)} for user in users]


def test_no_token_is_added_where_no_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKENS_VARIABLE, f"{ADA}:read")
    with pytest.raises(TokensError, match=f"{TOKENS_VARIABLE} is set"):
        add_token(tmp_path / "tokens", ["read"])
    assert not (tmp_path / "tokens").exists()


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    secret = ensure_secret(path)
    assert len(secret) == 32
    assert ensure_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(TokensError, match="others can read"):
        ensure_secret(path)
    path.chmod(0o600)
    for content in ("not hexadecimal", "ab" * 31):
        path.write_text(content)
        with pytest.raises(TokensError, match="secret"):
            ensure_secret(path)


def test_what_travels_to_replicas_holds_no_token() -> None:
    tokens = Tokens({ADA: ["read"]})
    sent = pickle.dumps(tokens)
    assert ADA.encode() not in sent
    assert ADA not in repr(vars(tokens))
    assert pickle.loads(sent).scopes_of(ADA) == {"read"}


@given(st.text(max_size=300))
def test_only_the_exact_token_is_known(text: str) -> None:
    assert Tokens({ADA: ["read"]}).scopes_of(text) is None
