"""Configurations to and from JSON values, those of older versions included."""

from __future__ import annotations

from dataclasses import asdict, fields
from importlib import metadata
from typing import Any, get_type_hints

from ..errors import ConfigError, suggest
from .options import settings


def package_version() -> str:
    """The version of this package."""
    return metadata.version("brainwavlm-fast")


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return {name: _jsonable(value) for name, value in asdict(config).items()}


def from_dict(cls: type[Any], values: Any, *, where: str, version: str | None = None) -> Any:
    """Build a configuration dataclass from JSON values.

    Parameters
    ----------
    cls : type
        The dataclass.
    values : dict
        As :func:`as_dict` gives them; names and values that a field once had are translated.
    where : str
        Their source, named in errors.
    version : str, optional
        The version of this package that wrote them.
    """
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where}: expected an object with the fields of {cls.__name__}, got {type(values).__name__}."
        )
    values = _translated(cls, values)
    names = [f.name for f in fields(cls)]
    later = {setting.name for setting in settings(cls) if setting.option.later}
    unknown = [key for key in values if key not in names]
    missing = [name for name in names if name not in values and name not in later]
    if (unknown or missing) and version not in (None, package_version()):
        key = f"it has the unknown key '{unknown[0]}'" if unknown else f"it lacks {', '.join(missing)}"
        raise ConfigError(
            f"{where} was written by version {version} of this package, this is {package_version()}: {key}."
        )
    if unknown:
        raise ConfigError(f"{where}: unknown key '{unknown[0]}': {suggest(unknown[0], names)}")
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}; the file is damaged or of another version.")
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if hasattr(hints[key], "__dataclass_fields__"):
            value = from_dict(hints[key], value, where=f"{where}: {key}", version=version)
        arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _translated(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values under the names of today."""
    values = dict(values)
    for setting in settings(cls):
        for name in setting.option.old_names:
            if name in values:
                value = values.pop(name)
                values[setting.name] = setting.option.old_values.get(value, value) if isinstance(value, str) else value
    return values


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
