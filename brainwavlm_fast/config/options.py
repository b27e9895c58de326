"""One table of options: beside each field stand its help, bounds, panel, and the names and values it once had.

From it are made the checks of the configuration, the options of ``bwlm train``, the words that give a configuration
again, and the reading of older files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from ..errors import ConfigError

Class = TypeVar("Class", bound=type)
_KEY = "option"
ANY, COUNT = (0, math.inf), (1, math.inf)  # bounds: 0 or more, 1 or more


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of a field beside its name, type and default.

    ``bounds`` are (least, below) and hold for each item of a list; ``positive`` leaves the least value out. ``flags``
    are hidden options that stand for one value each; ``follows`` names the field whose value is taken where only that
    one is given; a field ``given_with`` another has no option of its own. ``later`` marks a field that configurations
    written before it was there lack: its default holds. A ``changeable`` one may change in a run that has begun.
    """

    help: str
    panel: str
    bounds: tuple[float, float] = (-math.inf, math.inf)
    positive: bool = False
    metavar: str | None = None
    old_names: tuple[str, ...] = ()
    old_values: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    follows: str = ""
    given_with: str = ""
    path: bool = False
    required: bool = False
    later: bool = False
    changeable: bool = False


def option(default: Any, help: str, **table: Any) -> Any:
    """A dataclass field with its :class:`Option`."""
    return field(default=default, metadata={_KEY: Option(help=help, **table)})


@dataclass(frozen=True)
class Spelling:
    """One way to give a field on the command line: its option, or a hidden older one."""

    parameter: str
    words: str
    hidden: bool = True
    value: str | None = None  # of a flag that stands for it


@dataclass(frozen=True)
class Setting:
    """A field with its option."""

    name: str
    hint: Any
    default: Any
    option: Option

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a field that takes one of a few words."""
        return tuple(choice for choice in get_args(self.hint) if isinstance(choice, str))

    @property
    def kind(self) -> type:
        """The type that the command line reads."""
        return Path if self.option.path else self.hint if self.hint in (bool, int, float) else str

    def spellings(self) -> Iterator[Spelling]:
        """Every way to give the field, the one to be shown first."""
        if self.option.given_with:
            return
        for name in (self.name, *self.option.old_names):
            dashed = name.replace("_", "-")
            words = f"--{dashed}/--no-{dashed}" if self.hint is bool else f"--{dashed}"
            yield Spelling(name, words, hidden=name != self.name)
        for words, value in self.option.flags.items():
            yield Spelling(words.removeprefix("--").replace("-", "_"), words, value=value)

    def words(self, value: Any) -> list[str]:
        """The words of the command line that give the value."""
        dashed = self.name.replace("_", "-")
        if self.hint is bool:
            return [f"--{dashed}" if value else f"--no-{dashed}"]
        return [f"--{dashed}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]

    def parse(self, given: Any) -> Any:
        """The field's value from that of the command line."""
        if isinstance(given, Path):
            return str(given.resolve())  # a run opens from any working directory
        if isinstance(self.default, tuple):
            parts = [part.strip() for part in given.split(",") if part.strip()]
            try:
                return tuple(get_args(self.hint)[0](part) for part in parts)
            except ValueError:
                raise ConfigError(f"{self.name} is '{given}'; it must be numbers separated by commas.") from None
        return self.option.old_values.get(given, given)

    def check(self, value: Any) -> None:
        """Hold a value to the field's type and bounds."""
        if self.choices:
            _require(value in self.choices, self.name, value, f"one of {', '.join(self.choices)}")
        elif get_args(self.hint):  # tuple[kind, ...]
            kind = get_args(self.hint)[0]
            right = isinstance(value, tuple) and all(type(item) is kind for item in value)
            _require(right, self.name, value, f"a list of {kind.__name__}")
        elif self.hint is float:
            _require(type(value) in (int, float) and math.isfinite(value), self.name, value, "a finite number")
        else:
            _require(type(value) is self.hint, self.name, value, f"of type {self.hint.__name__}")
        least, below = self.option.bounds
        for item in value if isinstance(value, tuple) else [value]:
            if isinstance(item, (int, float)):
                low = item > least if self.option.positive else item >= least
                upper = f" and below {below:g}" if below < math.inf else ""
                expected = f"above {least:g}" if self.option.positive else f"{least:g} or more"
                _require(low and item < below, self.name, value, expected + upper)


def settings(cls: type[Any]) -> tuple[Setting, ...]:
    """The fields of a configuration that have an option, in their order."""
    hints = get_type_hints(cls)
    return tuple(Setting(f.name, hints[f.name], f.default, f.metadata[_KEY]) for f in fields(cls) if _KEY in f.metadata)


def check_settings(config: Any) -> None:
    """Hold every field of a configuration to its type and bounds; a :class:`ConfigError` names the first that fails."""
    for setting in settings(type(config)):
        setting.check(getattr(config, setting.name))


def option_words(config: Any, usual: Any) -> list[str]:
    """The words of the command line that make ``config`` where ``usual`` would be made without them."""
    words = []
    changed = {s.name for s in settings(type(config)) if getattr(config, s.name) != getattr(usual, s.name)}
    for setting in settings(type(config)):
        if {setting.name, setting.option.follows} & changed and not setting.option.given_with:
            words += setting.words(getattr(config, setting.name))
    return words


def documented(cls: Class) -> Class:
    """Append the table's help to the docstring of a configuration, as numpydoc's section Attributes."""
    lines = ["", "", "    Attributes", "    ----------"]
    for setting in settings(cls):
        kind = (
            "{" + ", ".join(map(repr, setting.choices)) + "}" if setting.choices else cls.__annotations__[setting.name]
        )
        lines += [f"    {setting.name} : {kind}, default {setting.default!r}", f"        {setting.option.help}"]
    cls.__doc__ = (cls.__doc__ or "").rstrip() + "\n".join(lines) + "\n"
    return cls


def _require(condition: bool, name: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; it must be {expected}.")
