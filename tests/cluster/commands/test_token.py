"""Tokens made on the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app, main
from cluster.commands.http import HttpProblem, HttpService
from cluster.run_record import RunRecord, replace_record
from cluster.settings import load
from cluster.tokens import TOKENS_VARIABLE, load_tokens


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MURMURATION_TOKEN", TOKENS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_a_token_is_printed_and_kept(tmp_path: Path) -> None:
    folder = ["--data-dir", str(tmp_path)]
    done = CliRunner().invoke(app, ["token", "read:user:11", "write", *folder])
    assert done.exit_code == 0, done.output
    scopes = load_tokens(load(data_dir=tmp_path)).scopes_of(done.stdout.strip())
    assert scopes == {"read:user:11", "write"}
    assert "counts from the next" in done.stderr


def test_a_wrong_scope_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["murmuration", "token", "user:11", "--data-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "did you mean 'read:user:11'?" in told
    assert len(told.splitlines()) == 1


def test_commands_do_not_take_a_users_token_for_everybodys(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    replace_record(settings, RunRecord("here", False, {}, "127.0.0.1", 1))
    path = tmp_path / "tokens"
    path.write_text("of-one-user-11111 read:user:11\n")
    with pytest.raises(HttpProblem, match="has none with scope read"):
        HttpService(settings, "read")
    path.write_text("of-one-user-11111 read:user:11\nof-everybody-1111 read\n")
    with HttpService(settings, "read") as service:
        assert service.token == "of-everybody-1111"
