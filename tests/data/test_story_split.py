from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainwavlm_fast.data import PAPER_TEST, PAPER_VALIDATION, make_split
from brainwavlm_fast.errors import ConfigError, DataError

NAMES = ["adollshouse", "avatar", "life", "naked", "souls", *PAPER_VALIDATION, *PAPER_TEST]


def test_the_papers_split():
    split = make_split(["life", "souls", "fromboyhoodtofatherhood", "wheretheressmoke"])
    assert split.train == ("life", "souls")
    assert split.validation == ("fromboyhoodtofatherhood",)
    assert split.test == ("wheretheressmoke",)
    assert split.absent == ("onapproachtopluto",)


@given(st.sets(st.sampled_from(NAMES)), st.lists(st.sampled_from(NAMES)), st.lists(st.sampled_from(NAMES)))
def test_disjoint_and_complete_or_refused(stories, validation, test):
    try:
        split = make_split(stories, validation=validation, test=test)
    except (ConfigError, DataError):
        return
    used = [*split.train, *split.validation, *split.test]
    assert len(used) == len(set(used))
    assert set(used) == stories
    assert split.train
    assert split.test
    assert set(split.train).isdisjoint([*validation, *test])


def test_a_story_in_both_is_refused():
    with pytest.raises(ConfigError, match="life is named more than once"):
        make_split(NAMES, validation=["life"], test=["life"])


def test_an_unknown_story_is_refused():
    with pytest.raises(ConfigError, match="unknown story 'lief'.*life"):
        make_split(NAMES, validation=["lief"])


def test_nothing_left():
    with pytest.raises(DataError, match="no story is left to train on"):
        make_split(["wheretheressmoke"])
    with pytest.raises(DataError, match="wheretheressmoke is not in the data set"):
        make_split(["life"])
