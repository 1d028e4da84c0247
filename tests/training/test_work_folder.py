from pathlib import Path

import pytest

from training.job import TrainingError
from training.work_folder import work_folder


def test_the_same_work_finds_its_folder_again(tmp_path: Path) -> None:
    with work_folder(tmp_path / "home", {"b": [1], "a": None}) as folder:
        (folder / "kept").write_text("so far")
    with work_folder(tmp_path / "home", {"a": None, "b": [1]}) as again:
        assert again == folder
        assert (again / "kept").read_text() == "so far"
        assert again.stat().st_mode & 0o777 == 0o700


def test_what_other_work_left_is_removed(tmp_path: Path) -> None:
    with work_folder(tmp_path, {"until_ms": 1}) as folder:
        (folder / "kept").write_text("so far")
    with work_folder(tmp_path, {"until_ms": 2}) as other:
        assert list(tmp_path.iterdir()) == [other]


def test_only_one_job_works_at_a_time(tmp_path: Path) -> None:
    with (
        work_folder(tmp_path, {"until_ms": 1}),
        pytest.raises(TrainingError, match="another job works in"),
        work_folder(tmp_path, {"until_ms": 2}),
    ):
        raise AssertionError
