"""Where a pre-trained model's files are: a folder here, or one commit of a repository on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class ModelFiles:
    """A model's files.

    Attributes
    ----------
    name : str
        A folder, or a name on the hub.
    commit : str or None
        The hub's commit that the name and revision stand for; None for a folder.
    """

    name: str
    commit: str | None = None

    @property
    def pinned(self) -> dict[str, str]:
        """What ``from_pretrained`` takes beside the name, so that every file is of the one commit."""
        return {} if self.commit is None else {"revision": self.commit}

    def record(self, digest: str) -> dict[str, str | None]:
        """What a result says of the model whose weights have this digest."""
        return {"model": self.name, "commit": self.commit, "digest": digest}

    def find(self, file: str) -> Path | None:
        """One of the files, fetched if it is not here; None if the model has none of that name."""
        if self.commit is None:
            path = Path(self.name) / file
            return path if path.is_file() else None
        return _fetch(self.name, file, self.commit)


def locate_model(name: str | Path, revision: str = "", *, needs_owner: bool = True) -> ModelFiles:
    """Find a model in Hugging Face format; a name on the hub is pinned to the commit that its revision stands for.

    Parameters
    ----------
    name : str or Path
        A folder, or a name on the hub.
    revision : str, optional
        A commit, tag or branch of a name on the hub; its main branch by default.
    needs_owner : bool, default True
        Whether a name on the hub must be OWNER/NAME; the oldest language models have no owner.

    Raises
    ------
    CheckpointError
        There is no such folder, or nothing can be fetched under that name and revision.
    ConfigError
        A revision of a folder.
    """
    folder, name = Path(name), str(name)
    if folder.is_dir():
        if revision:
            raise ConfigError(
                f"revision is '{revision}', but {name} is a folder; only names on the hub have revisions."
            )
        return ModelFiles(name)
    if folder.is_absolute() or name.startswith(".") or name.count("/") not in ((1,) if needs_owner else (0, 1)):
        raise CheckpointError(
            f"{name}: no such folder; give a model's folder, or a name on the hub such as microsoft/wavlm-base-plus."
        )
    path = _fetch(name, "config.json", revision, required=True)
    if path is None:
        raise CheckpointError(f"{name} on the hub holds no config.json; a model in Hugging Face format is expected.")
    return ModelFiles(name, path.parent.name)  # the hub's cache: snapshots/COMMIT/config.json


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop; its kind where it says nothing."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _fetch(name: str, file: str, revision: str, *, required: bool = False) -> Path | None:
    """A file of a repository on the hub, from the cache where it is there; None where the repository has none."""
    from transformers.utils import cached_file

    try:
        path = cached_file(
            name,
            file,
            revision=revision or None,
            _raise_exceptions_for_missing_entries=required,
            _raise_exceptions_for_connection_errors=required,
        )
    except Exception as error:  # no network, no such name, no permission: one message
        where = f" at revision {revision}" if revision else ""
        raise CheckpointError(
            f"{name}{where}: neither a folder here nor a model that could be fetched ({first_line(error)}). "
            "Give a folder with a model in Hugging Face format, or check the name and the network."
        ) from error
    return None if path is None else Path(path)
