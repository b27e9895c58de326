from __future__ import annotations

import numpy as np
import pytest
import soundfile

from brainwavlm_fast.config import preset
from brainwavlm_fast.data import load_audio, require_audio
from brainwavlm_fast.data.mel import log_mel
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.model import Story


def tone(seconds, rate, frequency=440.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_time_and_height(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(2, rate), rate, subtype="FLOAT")
    audio = load_audio(tmp_path / "a.wav", cache=tmp_path / "cache")
    assert audio.dtype == np.float32
    assert audio.shape == (32_000,)
    middle = slice(2000, -2000)
    np.testing.assert_allclose(audio[middle], tone(2, 16_000)[middle], atol=2e-3)


def test_what_16_khz_cannot_hold_is_filtered_away(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 44_100, frequency=9000.0), 44_100, subtype="FLOAT")
    assert np.abs(load_audio(tmp_path / "a.wav", cache=tmp_path)[1000:-1000]).max() < 1e-3  # picking samples: 0.5


def test_channels_are_averaged(tmp_path):
    left, right = tone(1, 16_000), tone(1, 16_000, frequency=300.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", cache=tmp_path), (left + right) / 2, atol=1e-6)


def test_the_second_reading_comes_from_the_cache_and_a_changed_file_does_not(tmp_path, monkeypatch):
    import soxr

    soundfile.write(tmp_path / "a.wav", tone(1, 44_100), 44_100)
    first = load_audio(tmp_path / "a.wav", cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(soxr, "resample", lambda *_, **__: pytest.fail("resampled again"))
        np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", cache=tmp_path / "cache"), first)
    soundfile.write(tmp_path / "a.wav", tone(1.5, 44_100), 44_100)
    assert len(load_audio(tmp_path / "a.wav", cache=tmp_path / "cache")) == 24_000
    kept.write_bytes(kept.read_bytes()[:100])  # cut off by a kill
    soundfile.write(tmp_path / "b.wav", tone(1, 44_100), 44_100)
    np.testing.assert_array_equal(load_audio(tmp_path / "b.wav", cache=tmp_path / "cache"), first)


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match=r"file/cache cannot be written \(Not a directory\): .* is not kept"):
        assert len(load_audio(tmp_path / "a.wav", cache=tmp_path / "file" / "cache")) == 16_000


def bad(path, kind):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 10)
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind == "truncated":
        soundfile.write(path, tone(2, 16_000), 16_000)
        path.write_bytes(path.read_bytes()[:-10_000])
    elif kind == "nan":
        soundfile.write(path, np.full(100, np.nan), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such audio file"),
        ("empty", "cannot be read as audio"),
        ("noise", "cannot be read as audio"),
        ("no samples", "holds no samples"),
        ("truncated", r"is truncated: 27\d\d\d of 32000 samples"),
        ("nan", "not numbers"),
    ],
)
def test_bad_audio_is_named(tmp_path, kind, says):
    path = tmp_path / "story.wav"
    bad(path, kind)
    with pytest.raises(DataError, match=rf"story\.wav.*{says}"):
        load_audio(path, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


PLACEHOLDERS = [0, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFFDB, 0xFFFFFFFF]


@pytest.mark.parametrize("riff", [lambda size: 0, lambda size: min(size + 36, 0xFFFFFFFF), lambda size: 32_036])
@pytest.mark.parametrize("size", PLACEHOLDERS)
def test_a_length_that_a_pipe_did_not_know(tmp_path, size, riff):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = size.to_bytes(4, "little")
    raw[4:8] = riff(size).to_bytes(4, "little")
    path.write_bytes(raw)
    np.testing.assert_allclose(load_audio(path, cache=tmp_path / "cache"), tone(1, 16_000), atol=1e-4)


def test_no_samples_before_other_chunks_are_no_samples(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 16_000)
    path.write_bytes(path.read_bytes() + b"LIST\4\0\0\0INFO")
    with pytest.raises(DataError, match="holds no samples"):
        load_audio(path, cache=tmp_path / "cache")


def test_a_large_file_that_was_cut_is_not_one_from_a_pipe(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, 16_000), 16_000)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = (3_000_000_000).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is truncated: 16000 of 1500000000 samples"):
        load_audio(path, cache=tmp_path / "cache")


def test_channels_that_cancel_are_refused_and_one_silent_channel_is_not(tmp_path):
    voice = tone(1, 16_000)
    soundfile.write(tmp_path / "a.wav", np.stack([voice, -voice], axis=1), 16_000)
    with pytest.raises(DataError, match=r"a\.wav: its channels cancel each other"):
        load_audio(tmp_path / "a.wav", cache=tmp_path)
    soundfile.write(tmp_path / "b.wav", np.stack([voice, 0 * voice], axis=1), 16_000)
    np.testing.assert_allclose(load_audio(tmp_path / "b.wav", cache=tmp_path), voice / 2, atol=1e-4)


@pytest.mark.parametrize(
    "take", [require_audio, log_mel, lambda samples: Story(samples, 2, preset("paper")[0], for_training=True)]
)
def test_samples_given_by_the_caller_are_one_channel_of_finite_floats(take):
    for samples, says in (
        (np.zeros((16_000, 2), np.float32), "expected samples of one channel"),
        (np.zeros(16_000, np.int16), "expected samples of one channel, floats .* got int16"),
        (np.r_[np.zeros(400), np.nan, np.zeros(40_000)], "with NaN or infinity .* first at 400, counted from 0"),
    ):
        with pytest.raises(DataError, match=says):
            take(samples)
