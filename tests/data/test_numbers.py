from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.data.numbers import as_float32, constant_rows, require_finite, usable_columns
from brainwavlm_fast.errors import DataError


def noise(n_rows=300, n_columns=50):
    return np.random.default_rng(0).standard_normal((n_rows, n_columns))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -9.96921e36, 1e39, -1e300])
def test_what_no_float32_can_be_squared_of_is_no_number(value):
    values = noise()
    values[7, 3] = value
    single = as_float32(values)
    assert single.dtype == np.float32
    assert np.argwhere(np.isnan(single)).tolist() == [[7, 3]]
    assert np.flatnonzero(~usable_columns(single)).tolist() == [3]


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_any_scale_and_offset_is_usable(scale, offset):
    assert usable_columns(as_float32(scale * (noise() + offset))).all()


@pytest.mark.parametrize("n_rows", [2, 3, 11, 12, 25])
def test_few_rows_are_not_taken_for_spikes(n_rows):
    assert usable_columns(as_float32(noise(n_rows, 20_000))).all()


@pytest.mark.parametrize("rows", [[5], [0, 299], list(range(100))])
def test_a_sentinel_is_found_and_heavy_tails_are_kept(rows):
    values = noise()
    values[rows, 3] = -9999
    values[150, 9] = 60  # a movement
    values[:, 12] = np.random.default_rng(1).standard_t(3, 300)
    assert np.flatnonzero(~usable_columns(as_float32(values))).tolist() == [3]


def test_rows_of_one_value():
    values = as_float32(noise())
    values[[4, 200]] = 0
    values[9, :20] = 0
    values[10, :40] = -1
    assert constant_rows(values) == [4, 10, 200]
    assert constant_rows(values[:, :2]) == []


def test_the_first_bad_number_is_named():
    values = noise(5, 4)
    values[3, 2] = values[4, 0] = np.nan
    with pytest.raises(DataError, match=r"^mine: 2 of 20 values are not numbers .* first at 3, 2, counted from 0"):
        require_finite(values, "mine")
    np.testing.assert_array_equal(require_finite([1, 2], "mine"), np.float32([1, 2]))
