"""What a check reports: one part per kind of file, and the report they make together."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data import Dataset, annex_size
from ..errors import DataError, NotFetchedError

GB = 1e9


@dataclass
class Part:
    """One kind of file. ``size`` and ``missing_size`` are bytes, as far as files and git-annex tell.

    ``unfetched`` of the files that are not here are in the tree, and the line ``get`` fetches them.
    """

    name: str
    total: int = 0
    here: int = 0
    unfetched: int = 0
    size: int = 0
    missing_size: int = 0
    get: str | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, dataset: Dataset, path: Path) -> bool:
        """Count a file; True if its contents are here and may be read."""
        self.total += 1
        try:
            dataset.require(path)
        except NotFetchedError:
            self.unfetched += 1
            self.missing_size += annex_size(path) or 0
        except DataError as error:
            self.problems.append(str(error) if os.path.lexists(path) else f"{path.name} is not in the tree")
        else:
            self.here += 1
            self.size += path.stat().st_size
            return True
        return False

    @property
    def complete(self) -> bool:
        """Whether every file is here and nothing is wrong with any."""
        return self.here == self.total and not self.problems


@dataclass
class Report:
    """The result of a check. ``trainable``: subjects that training could run for now."""

    root: str
    version: str
    subjects: list[str]
    parts: list[Part]
    trainable: list[str]
    notes: list[str]

    @property
    def commands(self) -> list[str]:
        """The ``datalad get`` lines that fetch what is missing, to be run in the data set's root."""
        return list(dict.fromkeys(part.get for part in self.parts if part.get and part.unfetched))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"commands": self.commands}
