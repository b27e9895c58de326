from __future__ import annotations

import pytest

from brainwavlm_fast.errors import BwlmError
from brainwavlm_fast.files import atomic_folder, atomic_path, json_text, provenance, read_json, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "result.json"
    write_json(target, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text(f"half {1 // 0}")
    assert read_json(target) == {"a": 1}
    assert names(target.parent) == ["result.json"]


def test_a_folder_appears_whole_or_not_at_all_and_replaces(tmp_path):
    target = tmp_path / "checkpoint"
    for content in ("old", "new"):
        with atomic_folder(target) as temporary:
            (temporary / content).write_text(content)
    assert names(target) == ["new"]
    with pytest.raises(FileNotFoundError), atomic_folder(target) as temporary:
        (temporary / "half" / "file").write_text("")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"r": [float("nan")]}])
def test_json_never_holds_nan(tmp_path, value):
    with pytest.raises(BwlmError, match="is NaN or infinite"):
        write_json(tmp_path / "x.json", value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b""])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BwlmError, match=r"x\.json cannot be read as JSON"):
        read_json(tmp_path / "x.json")


def test_json_that_the_system_refuses_is_not_damaged(tmp_path):
    with pytest.raises(BwlmError, match=r"x\.json cannot be read: it does not exist\.$"):
        read_json(tmp_path / "x.json")
    with pytest.raises(BwlmError, match=r"cannot be read: it is a folder\.$"):
        read_json(tmp_path)


def test_provenance_names_what_numbers_depend_on():
    versions = provenance()["versions"]
    assert {"brainwavlm-fast", "torch", "transformers", "peft", "numpy"} <= set(versions)
    assert "not installed" not in versions.values()


def test_results_are_as_readable_as_any_file(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_json(tmp_path / "x.json", 1)
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "file").touch()
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "x.json").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"tests": {"r": [0.1, float("nan")]}}, r"tests\.r\[1\]"),
        ([float("inf")], r"\[0\]"),
        (float("nan"), "the value"),
    ],
)
def test_what_is_not_finite_is_named_and_the_old_file_stays(tmp_path, value, place):
    target = tmp_path / "summary.json"
    write_json(target, {"a": 1})
    with pytest.raises(BwlmError, match=rf"summary\.json: {place} is NaN or infinite"):
        write_json(target, value)
    assert read_json(target) == {"a": 1}
    assert json_text({"a": [1.5]}, where="") == '{"a": [1.5]}'
