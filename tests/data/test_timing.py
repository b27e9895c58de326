from __future__ import annotations

import numpy as np

from brainwavlm_fast.data import response_times


def test_the_last_response_of_the_test_story():
    """wheretheressmoke: 311 recorded TRs, 291 responses, the last at 591 s of about 602 (trap 5)."""
    times = response_times(311 - 20)
    assert times[0] == 11.0
    assert times[-1] == 591.0
    np.testing.assert_array_equal(np.diff(times), 2.0)


def test_history_comes_before_the_first_response():
    np.testing.assert_array_equal(response_times(2, context=4), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0])


def test_the_releases_clock_is_nine_seconds_late():
    np.testing.assert_array_equal(response_times(5, clock="scanner") - response_times(5), 9.0)
