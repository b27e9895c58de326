"""Chunk bootstrap and the other ways to split rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, LeaveOneOut

from brainwavlm_fast.ridge.row_splits import ChunkBootstrap, resolve_splits, run_labels

ROWS = np.empty((500, 0))


def test_field_numbers_are_the_defaults() -> None:
    splits = list(ChunkBootstrap().split(ROWS))
    assert len(splits) == 3
    for train, held in splits:
        assert len(held) == int(0.25 * 500 / 40) * 40 == 120
        assert np.array_equal(np.sort(np.r_[train, held]), np.arange(500))


def test_seed_decides_the_splits_and_nothing_else_does() -> None:
    def held(seed: int) -> list[list[int]]:
        np.random.default_rng().random()  # other generators must not matter
        return [list(rows) for _, rows in ChunkBootstrap(seed=seed).split(ROWS)]

    assert held(0) == held(0)
    assert held(0) != held(1)
    assert held(0)[0] != held(0)[1]


@given(
    lengths=st.lists(st.integers(1, 130), min_size=2, max_size=8),
    chunk=st.integers(1, 25),
    gap=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_trap_16_chunks_stay_inside_a_run_and_the_gap_is_kept(
    lengths: list[int], chunk: int, gap: int, seed: int
) -> None:
    onsets = np.cumsum([0, *lengths[:-1]])
    runs = run_labels(sum(lengths), onsets)
    splitter = ChunkBootstrap(2, chunk_length=chunk, gap=gap, seed=seed)
    rows = np.empty((len(runs), 0))
    n_held = max(1, int(0.25 * len(runs) / chunk))
    if sum(length // chunk for length in lengths) <= n_held:
        with pytest.raises(ValueError, match="chunk"):
            list(splitter.split(rows, groups=runs))
        return
    splits = list(splitter.split(rows, groups=runs))
    for train, held in splits:
        assert not np.intersect1d(train, held).size
        chunks = held.reshape(-1, chunk)
        assert np.array_equal(chunks - chunks[:, :1], np.tile(np.arange(chunk), (len(chunks), 1)))
        for rows in chunks:
            assert len(set(runs[rows])) == 1
            assert (rows[0] - onsets[runs[rows[0]]]) % chunk == 0
        distance = np.abs(train[:, None] - held[None, :])
        same_run = runs[train][:, None] == runs[held][None, :]
        assert np.all(distance[same_run] > gap)
        too_close = np.setdiff1d(np.arange(len(runs)), np.r_[train, held])
        for row in too_close:
            assert np.min(np.abs(held[runs[held] == runs[row]] - row)) <= gap


def test_too_few_chunks_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="smaller chunk_length"):
        list(ChunkBootstrap().split(np.empty((79, 0))))
    with pytest.raises(ValueError, match="hold 0 chunk"):
        list(ChunkBootstrap().split(np.empty((80, 0)), groups=np.repeat([0, 1, 2], [39, 39, 2])))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_splits": 0}, "n_splits"),
        ({"chunk_length": 0}, "chunk_length"),
        ({"gap": -1}, "gap"),
        ({"seed": 1.5}, "seed"),
        ({"held_fraction": 1.0}, "held_fraction"),
    ],
)
def test_bad_parameters_are_named(arguments: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ChunkBootstrap(**arguments)


def test_scattered_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        list(ChunkBootstrap(chunk_length=2).split(np.empty((6, 0)), groups=[0, 1, 0, 1, 1, 1]))


@pytest.mark.parametrize("onsets", [[1, 5], [0, 5, 5], [0, 10], [0.0, 5.0], [], [[0, 5]]])
def test_bad_run_onsets_are_refused(onsets: list) -> None:
    with pytest.raises(ValueError, match="run_onsets"):
        run_labels(10, onsets)


def test_each_kind_of_cv() -> None:
    def held(cv: object) -> list[list[int]]:
        return [list(rows) for _, rows in resolve_splits(cv, 12, run_onsets=[0, 5, 7])]

    assert held(3) == [list(range(k, k + 4)) for k in (0, 4, 8)]
    assert held("runs") == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9, 10, 11]]
    assert held(LeaveOneGroupOut()) == held("runs")
    assert held(KFold(2, shuffle=True, random_state=0)) == [
        list(rows) for _, rows in KFold(2, shuffle=True, random_state=0).split(np.empty(12))
    ]
    assert len(held(GroupKFold(2))) == 2
    mask = np.arange(12) < 9
    assert held([(mask, ~mask)]) == held([(range(9), [9, 10, 11])]) == [[9, 10, 11]]
    assert all(len(rows) == 3 for rows in held(None))  # an eighth of 12 rows is 1, a quarter is 3 of those


def test_default_is_the_chunk_bootstrap_where_there_is_room() -> None:
    expected = list(ChunkBootstrap().split(ROWS, groups=run_labels(500, [0, 250])))
    for (train, held), (wanted_train, wanted) in zip(
        resolve_splits(None, 500, run_onsets=[0, 250]), expected, strict=True
    ):
        assert np.array_equal(train, wanted_train)
        assert np.array_equal(held, wanted)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ("fold", "'runs'"),
        ("runs", "two runs or more"),
        (3.5, "Expected `cv` as an integer"),
        ([], "no split"),
        ([([0, 1], [1, 2])], "both train and are held out"),
        ([([0, 1], [12])], "outside the 12 rows"),
        ([([0, 1], [])], "held-out rows"),
        ([(np.ones(5, bool), [7])], "training rows"),
        ([1, 2], "pair"),
    ],
)
def test_bad_cv_is_refused(cv: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        resolve_splits(cv, 12)


@pytest.mark.parametrize("cv", [LeaveOneOut(), 30, [(np.arange(1, 30), [0])]])
def test_a_single_held_out_row_is_refused(cv):
    """Its correlation is 0 at every alpha, and the smallest was taken without a word."""
    with pytest.raises(ValueError, match="holds out a single row.*cv='gcv'"):
        resolve_splits(cv, 30)
