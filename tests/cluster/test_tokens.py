"""Tokens: where they come from, what they allow, and what is refused."""

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.settings import Settings, load
from cluster.tokens import (
    TOKENS_VARIABLE,
    Tokens,
    TokensError,
    ensure_secret,
    ensure_tokens,
    load_tokens,
    tokens_path,
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
