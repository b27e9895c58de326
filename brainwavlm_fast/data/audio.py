"""A story's sound at 16 kHz, mono: resampled with a proper filter on first use, and cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cached_files import cache_folder, cached, file_digest, key_digest
from ..errors import DataError

SAMPLE_RATE = 16_000
_METHOD = "soxr-vhq-mean-1"  # of resampling; named anew whenever the same file would give other samples


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
    key = audio_identity(path)
    return cached(
        (cache or cache_folder("audio")) / f"{path.stem}-{key_digest(key)}.hf5",
        key,
        take=lambda file: file["samples"][:],
        make=lambda: _read(path),
        put=lambda file, samples: file.create_dataset("samples", data=samples),
    )


def _read(path: Path) -> NDArray[np.float32]:
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(path) as file:
            promised, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as audio ({error}); download it again.") from error
    if len(samples) == 0:
        raise DataError(f"{path} holds no samples; download it again.")
    promised = max(promised, _riff_frames(path))
    if len(samples) < promised:
        raise DataError(f"{path} is truncated: {len(samples)} of {promised} samples are there; download it again.")
    if not np.isfinite(samples).all():
        raise DataError(f"{path} holds samples that are not numbers; download it again.")
    return soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE, quality="VHQ").astype(np.float32, copy=False)


def _riff_frames(path: Path) -> int:
    """Frames that a plain WAV's own header promises (libsndfile trims this to the file's end), 0 if it is not one."""
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        frame = 0
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                frame = int.from_bytes(file.read(size)[12:14], "little")
            elif chunk[:4] == b"data":
                streamed = size in (0, 0xFFFFFFFF)  # written by a pipe that did not know the length
                return size // frame if frame and not streamed else 0
            else:
                file.seek(size + size % 2, 1)
    return 0
