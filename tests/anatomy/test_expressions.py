from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainwavlm_fast.anatomy.expressions import evaluate_sets, with_absolute_files
from brainwavlm_fast.errors import ConfigError

SETS = {
    "all": {0, 1, 2, 3, 4, 5},
    "lh": {0, 1, 2},
    "ac": {2, 3},
    "a2009s:G_temp_sup-Lateral": {0, 5},
    "file:/a b/(c).nii": {4},
}


def value(expression):
    def lookup(name):
        mask = np.zeros(6, dtype=bool)
        mask[list(SETS[name])] = True
        return mask

    return set(np.flatnonzero(evaluate_sets(expression, lookup)).tolist())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("lh", {0, 1, 2}),
        (" lh ", {0, 1, 2}),
        ("all - ac", {0, 1, 4, 5}),
        ("all - ac - lh", {4, 5}),
        ("lh & ac", {2}),
        ("lh|ac", {0, 1, 2, 3}),
        ("lh & (ac | a2009s:G_temp_sup-Lateral)", {0, 2}),
        ("lh & ac | a2009s:G_temp_sup-Lateral", {0, 2, 5}),
        ("ac | lh & all - ac", {0, 1, 2, 3}),
        ("all - (ac | lh)", {4, 5}),
        ("((lh))", {0, 1, 2}),
        ('"file:/a b/(c).nii" | ac', {2, 3, 4}),
        ("file:'/a b/(c).nii'", {4}),
    ],
)
def test_what_expressions_mean(expression, expected):
    assert value(expression) == expected


def test_precedence_is_pythons_for_every_short_expression():
    names = ("lh", "ac", "all")
    for first in "-&|":
        for second in "-&|":
            for third in "-&|":
                text = f"lh {first} ac {second} all {third} ac"
                assert value(text) == eval(text, {"__builtins__": {}}, {name: SETS[name] for name in names})


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("lh &", "must stand where the end is"),
        ("& lh", "must stand where '&' is"),
        ("lh - - ac", "must stand where '-' is"),
        ("()", r"must stand where '\)' is"),
        ("(lh", "a bracket is not closed"),
        ("lh)", r"'\)' follows what is complete"),
        ("lh ac", "'ac' follows what is complete"),
        ('"lh', "a quotation mark is not closed"),
    ],
)
def test_expressions_that_cannot_be_understood(expression, says):
    with pytest.raises(ConfigError, match=says):
        value(expression)


def test_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    assert with_absolute_files("lh & ac") == "lh & ac"
    assert with_absolute_files("(lh|file:m.nii) - ac") == f"(lh | file:{here}/m.nii) - ac"
    quoted = with_absolute_files('lh | file:"my mask.nii"')
    assert quoted == f'lh | "file:{here}/my mask.nii"'
    assert with_absolute_files(quoted) == quoted
    assert with_absolute_files('"svg:my roi"') == '"svg:my roi"'
