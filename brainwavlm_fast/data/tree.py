"""The ds003020 tree, as downloaded: where everything lies, and how to fetch what is missing."""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path
from typing import Any

from ..errors import BwlmError, DataError, NotFetchedError, suggest
from ..files import read_json, unreadable
from .annex import unfetched_key
from .timing import N_TRIMMED

DERIVATIVE = Path("derivative")


class Dataset:
    """An OpenNeuro ds003020 folder (LeBel et al. 2023, CC0), a git-annex tree whose large files may be missing.

    Subjects are written ``UTS02``; ``S02`` and ``s2`` mean the same. Known quirks of the public tree (version 3.1.0):
    UTS01 to UTS03 heard 84 stories, UTS04 to UTS08 26 or 27, UTS09 54; ``onapproachtopluto``, a validation story of
    the paper, is not among them; UTS02 has no localizer runs; UTS09 has no transform in ``subject_xfms.json`` and its
    ``wheretheressmoke.hf5`` is built differently; the raw ``treasureisland`` of UTS01 is corrupt, not its responses.
    """

    def __init__(self, root: Path | str) -> None:
        """Open a tree.

        Raises
        ------
        DataError
            The folder does not exist or is not a ds003020 tree.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such data folder. {_HOW_TO_GET}")
        if not (self.root / DERIVATIVE / "preprocessed_data").is_dir():
            raise DataError(
                f"{self.root} has no derivative/preprocessed_data; it is not a ds003020 folder. {_HOW_TO_GET}"
            )
        self._respdict: dict[str, int] | None = None

    @property
    def version(self) -> str:
        """The data set's version, such as ``3.1.0``, or ``unknown``."""
        try:
            description = read_json(self.root / "dataset_description.json")
        except BwlmError:
            return "unknown"
        doi = str(description.get("DatasetDOI", "")) if isinstance(description, dict) else ""
        _, separator, version = doi.rpartition(".v")
        return version if separator else "unknown"

    def subjects(self) -> list[str]:
        """Subjects with preprocessed responses."""
        folder = self.root / DERIVATIVE / "preprocessed_data"
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def subject(self, name: str) -> str:
        """The full name of a subject given as S02, s2 or UTS02; an unknown one is a :class:`DataError`."""
        known = self.subjects()
        number = re.fullmatch(r"(?:sub-)?(?:UT)?S?(\d+)", name, flags=re.IGNORECASE)
        full = f"UTS{int(number[1]):02d}" if number else name
        if full not in known:
            raise DataError(f"unknown subject '{name}' in {self.root}: {suggest(full, known)}")
        return full

    def stories(self, subject: str | None = None) -> list[str]:
        """Stories that a subject has responses for (fetched or not), or all stories of ``respdict.json``."""
        if subject is None:
            return sorted(self._counts())
        return sorted(path.stem for path in (self._responses(subject)).glob("*.hf5"))

    def n_trs(self, story: str) -> int:
        """Responses of a story: the TRs recorded (``respdict.json``) minus 20."""
        counts = self._counts()
        if story not in counts:
            raise DataError(f"{self.respdict_path} has no story '{story}': {suggest(story, counts)}")
        return counts[story] - N_TRIMMED

    @property
    def respdict_path(self) -> Path:
        """The file that counts each story's recorded TRs."""
        return self.root / DERIVATIVE / "respdict.json"

    def audio_path(self, story: str) -> Path:
        """The story's sound."""
        return self.root / "stimuli" / f"{story}.wav"

    def response_path(self, subject: str, story: str) -> Path:
        """A subject's responses to a story."""
        return self._responses(subject) / f"{story}.hf5"

    def textgrid_path(self, story: str) -> Path:
        """The story's phones and words."""
        return self.root / DERIVATIVE / "TextGrids" / f"{story}.TextGrid"

    def mask_path(self, subject: str) -> Path:
        """The volume mask whose voxels are the responses' columns; its transform lies beside it."""
        subject = self.subject(subject)
        transform = f"{subject}_auto"
        listed = self.root / DERIVATIVE / "subject_xfms.json"
        if self.has(listed):
            named = read_json(listed)
            if not isinstance(named, dict):
                raise DataError(f"{listed}: expected an object of subject -> transform.")
            transform = str(named.get(subject, transform))
        folder = self.root / DERIVATIVE / "pycortex-db" / subject / "transforms" / transform
        return folder / "mask_thick.nii.gz"

    def has(self, path: Path) -> bool:
        """Whether a file's contents are here: it is neither missing nor what git-annex leaves in their place."""
        try:
            return path.is_file() and unfetched_key(path) is None
        except OSError:  # there, though it may not be read: whoever opens it will hear why
            return True

    def require(self, path: Path) -> Path:
        """The path, if its contents are here and may be read.

        Raises
        ------
        NotFetchedError
            Its contents are not here; says how to fetch them.
        DataError
            It is missing, a link to nothing, or may not be read.
        """
        try:
            if unfetched_key(path) is not None:
                raise NotFetchedError(f"{path} has not been downloaded. {self.how_to_get(path)}")
            for link in (path, *path.parents):
                if link.is_symlink() and not link.exists():
                    raise DataError(
                        f"{link} is a link to {link.readlink()}, which does not exist; is the disk there that holds it?"
                    )
            path.stat()
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except FileNotFoundError:
            raise DataError(f"{path} is missing from the data set; expected it there (ds003020 layout).") from None
        except OSError as error:
            raise DataError(unreadable(path, error)) from error
        return path

    def get_command(self, *paths: Path) -> str | None:
        """The line that fetches files and folders, to be run in the root: those that exist there; None if none does."""
        known = [self.relative(path) for path in paths if os.path.lexists(path)]
        return f"datalad get {' '.join(map(shlex.quote, known))}" if known else None

    def how_to_get(self, *paths: Path) -> str:
        """A sentence with the line that fetches files and folders; empty where there is nothing to fetch."""
        command = self.get_command(*paths)
        return f"In {self.root}, run: {command}" if command else "The data set's tree does not list it."

    def relative(self, path: Path) -> str:
        """A path as seen from the data set's root."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _responses(self, subject: str) -> Path:
        return self.root / DERIVATIVE / "preprocessed_data" / self.subject(subject)

    def _counts(self) -> dict[str, int]:
        if self._respdict is None:
            values: Any = read_json(self.require(self.respdict_path))
            if not isinstance(values, dict) or any(type(n) is not int or n <= N_TRIMMED for n in values.values()):
                raise DataError(
                    f"{self.respdict_path}: expected an object of story -> recorded TRs (over {N_TRIMMED})."
                )
            self._respdict = values
        return self._respdict


def find_dataset(path: Path | str | None) -> Dataset:
    """The data set to use: the path given, else ``$BWLM_DATA``, else ``./ds003020``."""
    if path is None:
        path = os.environ.get("BWLM_DATA") or "ds003020"
    return Dataset(path)


_HOW_TO_GET = (
    "Give it with --data or $BWLM_DATA; to get it: datalad install https://github.com/OpenNeuroDatasets/ds003020.git, "
    "or simulate one with: bwlm simulate DIR"
)
