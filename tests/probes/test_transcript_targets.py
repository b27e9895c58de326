"""Word rate, position and phones from a transcript."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainwavlm_fast.data import Dataset, phones, read_textgrid, response_times
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.model import lanczos_weights
from brainwavlm_fast.probes.targets import phone_target, timing_target
from tests.helpers.tree import STORIES, make_tree

GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {end}
tiers? <exists>
size = 2
item []:
"""
TIER = """    item [{number}]:
        class = "IntervalTier"
        name = "{name}"
        xmin = 0
        xmax = {end}
        intervals: size = {size}
"""
INTERVAL = """        intervals [{k}]:
            xmin = {start}
            xmax = {stop}
            text = "{text}"
"""


def write_grid(path: Path, end: float, tiers: dict[str, list]) -> None:
    text = GRID.format(end=end)
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        text += TIER.format(number=number, name=name, end=end, size=len(intervals))
        for k, (start, stop, label) in enumerate(intervals, start=1):
            text += INTERVAL.format(k=k, start=start, stop=stop, text=label)
    path.write_text(text)


@pytest.fixture
def spoken(tmp_path: Path) -> Dataset:
    """A word a second; each of two phones, the second of which every other word lacks."""
    root = make_tree(tmp_path / "tree")
    for story, n_trs in STORIES.items():
        end, words, said = 11 + 2 * n_trs, [], []
        for second in range(end):
            words.append((second, second + 1, "WORD"))
            said += [(second, second + 0.5, "AH1"), (second + 0.5, second + 1, "t" if second % 2 else "sp")]
        tiers = {"phone": said, "word": words}
        write_grid(root / "derivative" / "TextGrids" / f"{story}.TextGrid", end, tiers)
    return Dataset(root)


def test_timing_is_words_per_tr_and_position(spoken: Dataset) -> None:
    target = timing_target(spoken, ["avatar"])
    rate, position = target.stories["avatar"].T
    times = response_times(23, clock="sound")
    middles = np.arange(11 + 46) + 0.5
    np.testing.assert_allclose(rate, lanczos_weights(middles, times) @ np.ones(57), atol=1e-6)
    assert rate[2:-2].std() < 0.1 * rate[2:-2].mean()  # a word a second, everywhere
    np.testing.assert_allclose(position, np.linspace(-1, 1, 23))


def test_phones_are_counted_without_stress_and_silence(spoken: Dataset) -> None:
    target = phone_target(spoken, ["avatar", "fromboyhoodtofatherhood"])
    assert target.title == "phones (2)"
    first, second = target.stories["avatar"][2:-2].mean(axis=0)
    assert first == pytest.approx(2 * second, rel=0.05)
    assert target.stories["fromboyhoodtofatherhood"].shape == (22, 2)
    path = spoken.textgrid_path("avatar")
    assert {phone.text for phone in phones(read_textgrid(path))} == {"AH", "T"}
    write_grid(path, 57, {"word": [(0, 57, "WORD")], "other": [(0, 57, "sp")]})
    with pytest.raises(DataError, match="no tier 'phone'"):
        phone_target(spoken, ["avatar"])
    write_grid(path, 57, {"word": [(0, 57, "WORD")], "phones": [(0, 57, "sp")]})
    with pytest.raises(DataError, match="holds no phones"):
        phone_target(spoken, ["avatar"])
