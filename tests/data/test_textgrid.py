from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainwavlm_fast.data import Interval, read_textgrid, words
from brainwavlm_fast.errors import DataError
from tests.helpers.tree import LONG_GRID

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=["Cs", "Cc"]), max_size=12)


@st.composite
def tiers(draw):
    """Names and back-to-back intervals."""
    made = {}
    for name in draw(st.lists(TEXT, min_size=1, max_size=3, unique_by=str.lower)):
        ends = sorted(draw(st.sets(st.integers(1, 4000), max_size=6)))
        starts = [0, *ends][: len(ends)]
        made[name] = tuple(Interval(a / 100, b / 100, draw(TEXT)) for a, b in zip(starts, ends, strict=True))
    return made


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def long_format(tiers, end=40.0):
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for k, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [f"    item [{k}]:", '        class = "IntervalTier" ', f"        name = {quoted(name)} "]
        lines += ["        xmin = 0 ", f"        xmax = {end} ", f"        intervals: size = {len(intervals)} "]
        for j, i in enumerate(intervals, 1):
            lines += [f"        intervals [{j}]:", f"            xmin = {i.start} ", f"            xmax = {i.end} "]
            lines += [f"            text = {quoted(i.text)} "]
    return "\n".join(lines) + "\n"


def short_format(tiers, end=40.0):
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{end}", "<exists>", f"{len(tiers)}"]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', quoted(name), "0", f"{end}", f"{len(intervals)}"]
        for i in intervals:
            lines += [f"{i.start}", f"{i.end}", quoted(i.text)]
    return "\n".join(lines) + "\n"


@given(tiers(), st.sampled_from([long_format, short_format]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_both_formats_and_any_text_come_back(tmp_path_factory, tiers, write, encoding):
    path = tmp_path_factory.mktemp("grid") / "story.TextGrid"
    path.write_bytes(write(tiers).encode(encoding))
    assert read_textgrid(path).tiers == tiers


def test_marks_are_not_words(tmp_path):
    said = ["sp", "The", "{BR}", "dog", "", "ns", "{ns}", "SENTENCE_START", "barked", "{lg}", "ls", "CG", " the ", "sl"]
    intervals = tuple(Interval(float(k), float(k + 1), text) for k, text in enumerate(said))
    path = tmp_path / "story.TextGrid"
    path.write_text(long_format({"phone": (), "WORD": intervals}))
    assert words(read_textgrid(path)) == [
        Interval(1.0, 2.0, "the"),
        Interval(3.0, 4.0, "dog"),
        Interval(8.0, 9.0, "barked"),
        Interval(12.0, 13.0, "the"),
    ]


def test_points_are_read(tmp_path):
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n'
    (tmp_path / "p.TextGrid").write_text(head + '"TextTier"\n"word"\n0\n2\n1\n0.5\n"click"\n')
    assert read_textgrid(tmp_path / "p.TextGrid").tier("word") == (Interval(0.5, 0.5, "click"),)


def test_old_praat_wrote_latin_1(tmp_path):
    path = tmp_path / "l.TextGrid"
    path.write_bytes(short_format({"word": (Interval(0.0, 1.0, "café"),)}).encode("latin-1"))
    assert words(read_textgrid(path))[0].text == "café"


@given(st.integers(0, 700))
def test_a_file_cut_anywhere_is_an_error_or_whole(tmp_path_factory, length):
    text = LONG_GRID.format(end=60)
    path = tmp_path_factory.mktemp("cut") / "story.TextGrid"
    path.write_text(text[:length])
    if length >= len(text.rstrip()):
        assert words(read_textgrid(path)) == [Interval(0.0, 60.0, "a")]
        return
    with pytest.raises(DataError, match="story.TextGrid"):
        words(read_textgrid(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ooTextFile", "Spreadsheet", "is not a TextGrid"),
        ("IntervalTier", "MysteryTier", "line 10: unknown tier class 'MysteryTier'"),
        ("size = 2", "size = 2.5", "expected the number of tiers, got 2.5"),
        ('text = "AH0"', "text = 5", "line 18: expected an interval's text in quotes, got 5"),
        ("xmin = 0\n            xmax = 60", "xmin = 70\n            xmax = 60", "60.0 before it starts at 70.0"),
        ('name = "word"', 'name = "wort"', "no tier 'word'; it holds: phone, wort"),
    ],
)
def test_what_is_wrong_and_where(tmp_path, old, new, says):
    path = tmp_path / "story.TextGrid"
    text = LONG_GRID.format(end=60)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=says):
        words(read_textgrid(path))


def test_an_empty_file_and_a_missing_one(tmp_path):
    (tmp_path / "e.TextGrid").write_text("")
    with pytest.raises(DataError, match="the file ends where a file type should be"):
        read_textgrid(tmp_path / "e.TextGrid")
    with pytest.raises(DataError, match="cannot be read"):
        read_textgrid(tmp_path / "none.TextGrid")
