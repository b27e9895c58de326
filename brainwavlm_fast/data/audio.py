"""A story's sound at 16 kHz, mono: resampled on first use, and cached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..errors import DataError
from ..files import unreadable
from .numbers import require_finite
from .timing import TR, response_times
from .tree import Dataset
from .wav import read_wav_header, with_length

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE = 16_000
_METHOD = "soxr-vhq-mean-1"  # of resampling; named anew whenever the same file would give other samples
_SILENT = 1e-5  # root mean square; a bit of 16 is 3e-5
_CANCELED = 0.1  # of the channels' loudness; 0.7 where one is silent or both differ


def audio_identity(path: Path) -> dict[str, str]:
    """What the samples that :func:`load_audio` gives depend on: the file's contents, and how they are resampled."""
    return {"sound": file_digest(path), "resampling": _METHOD}


def load_audio(path: Path | str, *, cache: Path | None = None) -> NDArray[np.float32]:
    """Read a sound file, average its channels, resample it to 16 kHz (soxr, very high quality).

    Parameters
    ----------
    cache : folder for the result, by default ``audio`` in the user's cache; keyed by the file's contents.

    Returns
    -------
    float32 (n_samples,)

    Raises
    ------
    DataError : the file is missing, empty, truncated, not audio, or holds no samples.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such audio file.")
    with _open(path):
        key = audio_identity(path)
    return cached(
        (cache or cache_folder("audio")) / f"{path.stem}-{key_digest(key)}.hf5",
        key,
        take=lambda file: file["samples"][:],
        make=lambda: _read(path),
        put=lambda file, samples: file.create_dataset("samples", data=samples),
    )


def story_audio(dataset: Dataset, story: str) -> NDArray[np.float32]:
    """A story's sound, which must be complete, audible, and reach the story's last response: float32 (n_samples,).

    Whatever needs a story's sound asks here, ``bwlm check`` and training alike.

    Raises
    ------
    DataError
        The file is missing, not fetched, not audio, empty, truncated, silent, or ends before the last response.
    """
    path = dataset.require(dataset.audio_path(story))
    with _open(path) as file:
        seconds = _require_samples(path, file.frames, file.frames) / file.samplerate
    last = response_times(dataset.n_trs(story))[-1]
    if seconds < last - TR / 2:
        raise DataError(f"{path} lasts {seconds:.1f} s, but its last response is centered at {last:.0f} s.")
    samples = load_audio(path)
    if _loudness(samples) < _SILENT:
        raise DataError(f"{path} is silent; nothing can be learned from it. Download it again.")
    return samples


def require_audio(samples: ArrayLike, what: str = "audio") -> NDArray[np.float32]:
    """Samples of one channel as float32 (n_samples,), all of them numbers.

    Raises
    ------
    DataError
        They have another number of axes, or hold NaN or infinity; says which sample.
    """
    audio = np.asarray(samples)
    if audio.ndim != 1 or audio.dtype.kind != "f":
        raise DataError(
            f"{what}: expected samples of one channel, floats (n_samples,) from -1 to 1, got {audio.dtype} of shape "
            f"{audio.shape}; average channels, and divide whole numbers by their largest, first."
        )
    return require_finite(audio, what)


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    import soundfile

    try:
        header = read_wav_header(path)  # and libsndfile does not say why the system refuses
        file = soundfile.SoundFile(with_length(path, header) if header and header.unknown_at else path)
    except (OSError, soundfile.LibsndfileError) as error:
        damaged = f"{path} cannot be read as audio ({error}); download it again."
        raise DataError(unreadable(path, error, otherwise=damaged)) from error
    with file:
        yield file


def _require_samples(path: Path, n_samples: int, promised: int) -> int:
    if n_samples == 0:
        raise DataError(f"{path} holds no samples; download it again.")
    header = read_wav_header(path)
    promised = max(promised, header.promised if header else 0)
    if n_samples < promised:
        raise DataError(f"{path} is truncated: {n_samples} of {promised} samples remain; download it again.")
    return n_samples


def _read(path: Path) -> NDArray[np.float32]:
    import soundfile
    import soxr

    with _open(path) as file:
        promised, rate = file.frames, file.samplerate
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DataError(f"{path} cannot be read as audio ({error}); download it again.") from error
    _require_samples(path, len(samples), promised)
    samples = require_finite(samples, f"{path}, samples and channels")
    mono = samples.mean(axis=1)
    if _loudness(mono) < _CANCELED * _loudness(samples):
        raise DataError(
            f"{path}: its channels cancel each other when they are averaged (one is the other turned over); turn one "
            "back, or keep one only."
        )
    return soxr.resample(mono, rate, SAMPLE_RATE, quality="VHQ").astype(np.float32, copy=False)


def _loudness(samples: NDArray[np.float32]) -> float:
    """Root mean square around the mean."""
    flat = samples.ravel()
    return float(np.sqrt(max(0.0, np.dot(flat, flat) / flat.size - flat.mean(dtype=np.float64) ** 2)))
