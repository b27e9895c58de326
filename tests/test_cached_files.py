"""Cached files: used only with the right key, made again when damaged; digests of files follow their contents."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from brainwavlm_fast import cached_files
from brainwavlm_fast.cached_files import cached, file_digest, key_digest, read_cached, write_cached


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def numbers(path: Path, key: dict, made: list[int]) -> np.ndarray:
    return cached(
        path,
        key,
        take=lambda file: file["x"][:],
        make=lambda: made.append(1) or np.arange(3.0),
        put=lambda file, x: file.create_dataset("x", data=x),
    )


def test_a_value_is_made_once_for_each_key_and_again_when_the_file_is_damaged(tmp_path: Path) -> None:
    path, made = tmp_path / "deep/x.hf5", []
    for n, key in enumerate(({"a": (1, 2)}, {"a": [1, 3]}, {"a": [1, 3], "b": 0}), start=1):
        for _ in range(2):
            assert numbers(path, key, made).tolist() == [0, 1, 2]
        assert len(made) == n
    path.write_bytes(path.read_bytes()[:-100])
    numbers(path, {"a": [1, 3], "b": 0}, made)
    assert len(made) == 4


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match=r"/file cannot be written \(File exists\): .* is not kept"):
        assert numbers(tmp_path / "file/x.hf5", {}, []).tolist() == [0, 1, 2]


def test_files_appear_whole_and_what_is_no_cached_file_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.hf5"
    with pytest.raises(ZeroDivisionError), write_cached(path, {}) as file:
        file["x"] = 1 // 0
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"hello")
    assert read_cached(path, {}, dict) is None


def test_names_follow_keys() -> None:
    assert key_digest({"a": 1, "b": [2]}) == key_digest({"b": (2,), "a": 1}) != key_digest({"a": 1, "b": [3]})


@pytest.mark.parametrize("size", [100, cached_files._SMALL])
def test_a_file_replaced_within_the_grain_of_its_times_is_noticed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "sound.wav"
    digests = set()
    for value in range(5):
        path.write_bytes(bytes([value]) * size)
        os.utime(path, (1e9, 1e9))
        digests.add(file_digest(path))
    assert len(digests) == 5


def test_a_large_files_digest_is_remembered_until_its_status_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(cached_files._SMALL))
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(cached_files.time, "time_ns", lambda: later)  # as if it had lain there for a while
    first = file_digest(path)
    assert len(list(cache.rglob("*.hf5"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(cached_files.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert file_digest(path) == first
    before = path.stat()
    path.write_bytes(b"1" + bytes(cached_files._SMALL - 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_digest(path) != first
