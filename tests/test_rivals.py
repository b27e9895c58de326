from __future__ import annotations

import importlib.metadata

import pytest

from benchmarks.rivals import Rival, ratios, terms


def test_a_ratio_carries_its_terms():
    found = ratios({"ours": 2.0, "theirs": 7.0}, {"theirs": Rival("scikit-learn", "numpy")}, 1)
    assert found["times_ours"] == {"ours": 1.0, "theirs": 3.5}
    assert found["rivals"]["theirs"]["version"] == importlib.metadata.version("scikit-learn")
    assert found["processor"]
    assert found["threads"] == 1


@pytest.mark.parametrize(("rivals", "threads"), [({}, 1), ({"theirs": Rival("", "numpy")}, 0)])
def test_no_ratio_without_terms(rivals, threads):
    with pytest.raises(ValueError, match="no ratio without its terms"):
        ratios({"ours": 2.0, "theirs": 7.0}, rivals, threads)


def test_no_terms_without_a_rival():
    with pytest.raises(ValueError, match="no ratio without its terms"):
        terms({}, 1)
