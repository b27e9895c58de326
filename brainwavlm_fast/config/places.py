"""Where a run's data set and pre-trained model are now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .run import RunConfig


@dataclass(frozen=True)
class Places:
    """Where things are that are no longer where a run's configuration says; None: they are still there.

    Attributes
    ----------
    data : folder of the data set.
    model : the pre-trained model, a folder or a name on the hub; other weights than the run's are refused.
    revision : commit, tag or branch of a model on the hub.
    """

    data: Path | str | None = None
    model: Path | str | None = None
    revision: str | None = None

    def update(self, config: RunConfig) -> RunConfig:
        """The configuration with everything where it is now."""
        data = config.data if self.data is None else str(self.data)
        return replace(config, data=data, model=config.model.with_base(self.model, self.revision))
