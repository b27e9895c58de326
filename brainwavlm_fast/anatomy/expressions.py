"""Expressions over voxel sets: ``lh``, ``all - ac``, ``lh & (ac | a2009s:S_temporal_sup)``.

``-`` takes away, ``&`` keeps what both have, ``|`` adds; as in Python, ``-`` binds before ``&`` and ``&`` before ``|``.
Names hold no blanks, brackets, ``&`` or ``|`` unless quoted. Since parcels have ``-`` in their names, the operator
stands between blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

Mask = NDArray[np.bool_]
FILE = "file:"
_TOKEN = re.compile(r"""\s*([()&|]|(?:[^\s()&|"']|"[^"]*"|'[^']*')+)""")
_LEVELS = ("|", "&", "-")  # loosest first


def evaluate_sets(expression: str, lookup: Callable[[str], Mask]) -> Mask:
    """The voxels of an expression, bool (n_voxels,); ``lookup`` gives those of a name.

    Raises
    ------
    ConfigError
        The expression is empty, or cannot be understood.
    """
    tokens = _tokens(expression)
    if not tokens:
        raise ConfigError("the voxel set is empty; give a name such as lh, or an expression such as 'all - ac'.")
    mask, rest = _combined(tokens, expression, lookup, 0)
    if rest:
        raise _misread(expression, f"'{rest[0]}' follows what is complete; an operator (&, |, ' - ') is missing")
    return mask


def with_absolute_files(expression: str) -> str:
    """The expression with every ``file:`` in it made absolute, for use in any working directory."""
    written = []
    for token in _tokens(expression):
        name = _unquoted(token)
        if name.startswith(FILE):
            name = f"{FILE}{Path(name.removeprefix(FILE)).expanduser().resolve()}"
            token = f'"{name}"' if re.search(r"[\s()&|']", name) else name
        written.append(token)
    return " ".join(written).replace("( ", "(").replace(" )", ")")


def _combined(tokens: list[str], expression: str, lookup: Callable[[str], Mask], level: int) -> tuple[Mask, list[str]]:
    """What the operators of a level, and of tighter ones, make of the first tokens; and the tokens left over."""
    if level == len(_LEVELS):
        return _single(tokens, expression, lookup)
    mask, tokens = _combined(tokens, expression, lookup, level + 1)
    while tokens and tokens[0] == _LEVELS[level]:
        other, rest = _combined(tokens[1:], expression, lookup, level + 1)
        mask = mask | other if tokens[0] == "|" else mask & (other if tokens[0] == "&" else ~other)
        tokens = rest
    return mask, tokens


def _single(tokens: list[str], expression: str, lookup: Callable[[str], Mask]) -> tuple[Mask, list[str]]:
    if not tokens or tokens[0] in ("&", "|", "-", ")"):
        instead = f"'{tokens[0]}'" if tokens else "the end"
        raise _misread(expression, f"a voxel set must stand where {instead} is")
    if tokens[0] != "(":
        return lookup(_unquoted(tokens[0])), tokens[1:]
    mask, rest = _combined(tokens[1:], expression, lookup, 0)
    if not rest or rest[0] != ")":
        raise _misread(expression, "a bracket is not closed")
    return mask, rest[1:]


def _tokens(expression: str) -> list[str]:
    tokens, at = [], 0
    expression = expression.rstrip()
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise _misread(expression, "a quotation mark is not closed")
        tokens.append(match[1])
        at = match.end()
    return tokens


def _unquoted(token: str) -> str:
    return re.sub(r""""([^"]*)"|'([^']*)'""", lambda quoted: quoted[1] or quoted[2] or "", token)


def _misread(expression: str, what: str) -> ConfigError:
    return ConfigError(f"voxel set '{expression}': {what}. Examples: 'all - ac', 'lh & (ac | a2009s:S_temporal_sup)'.")
