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


def old_short_format(tiers):
    return short_format(tiers).replace('"ooTextFile"', '"ooTextFile short"').replace("Object class = ", "")


def commented_format(tiers):
    lines = long_format(tiers).splitlines()
    return "\n".join([*lines[:3], '! a "comment" of 5 words, <absent>', *lines[3:]]).replace(" = 40.0", " = 40.0s ! 3")


def chronological_format(tiers, end=40.0):
    lines = [
        '"Praat chronological TextGrid text file"',
        f"0 {end}   ! Time domain.",
        f"{len(tiers)}   ! Number of tiers.",
    ]
    lines += [f'"IntervalTier" {quoted(name)} 0 {end}' for name in tiers]
    said = [(i.start, k, i) for k, intervals in enumerate(tiers.values(), 1) for i in intervals]
    for _, k, i in sorted(said, key=lambda entry: entry[:2]):
        lines += ["", "! some tier:", f"{k} {i.start} {i.end}", quoted(i.text)]
    return "\n".join(lines) + "\n"


TEXT_FORMATS = [long_format, short_format, old_short_format, commented_format, chronological_format]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@given(tiers(), st.sampled_from(TEXT_FORMATS), st.sampled_from(ENCODINGS), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_text_format_and_any_text_come_back(tmp_path_factory, tiers, write, encoding, newline):
    path = tmp_path_factory.mktemp("grid") / "story.TextGrid"
    path.write_bytes(write(tiers).replace("\n", newline).encode(encoding))
    assert read_textgrid(path).tiers == tiers


# Written by Praat 6.1: an interval tier `phone`, `word` with The and d"\u014f"g \U0001f600, and a point at 0.75.
BINARY = bytes.fromhex(
    "6f6f42696e61727946696c6508546578744772696400000000000000004004000000000000010000000"
    "30c496e74657276616c54696572000570686f6e6500000000000000004004000000000000000000010000000000000000"
    "400400000000000000000c496e74657276616c546965720004776f72640000000000000000400400000000000000000002"
    "00000000000000003ff000000000000000035468653ff00000000000004004000000000000ffff000700640022014f0022"
    "00670020d83dde000854657874546965720004"
    "62656c6c00000000000000004004000000000000000000013fe8000000000000000464696e67"
)


def test_a_binary_file(tmp_path):
    path = tmp_path / "b.TextGrid"
    path.write_bytes(BINARY)
    assert read_textgrid(path).tiers == {
        "phone": (Interval(0, 2.5, ""),),
        "word": (Interval(0, 1, "The"), Interval(1, 2.5, 'd"\u014f"g \U0001f600')),
        "bell": (Interval(0.75, 0.75, "ding"),),
    }


@pytest.mark.parametrize("length", range(12, len(BINARY) - 1, 7))
def test_a_binary_file_cut_anywhere(tmp_path, length):
    path = tmp_path / "b.TextGrid"
    path.write_bytes(BINARY[:length])
    with pytest.raises(DataError, match=r"b\.TextGrid, byte \d+: the file ends where"):
        read_textgrid(path)


@pytest.mark.parametrize("name", ["word", "Words", "words", "teller - words", " WORD "])
def test_tiers_of_words_by_the_aligners_names(tmp_path, name):
    path = tmp_path / "story.TextGrid"
    said = [
        Interval(0.0, 1.0, "hi"),
        Interval(1.0, 2.0, "<unk>"),
        Interval(2.0, 3.0, "spn"),
        Interval(3, 4, "[breath]"),
    ]
    path.write_text(long_format({"phones": (), name: tuple(said)}))
    assert words(read_textgrid(path)) == [Interval(0.0, 1.0, "hi")]


@pytest.mark.parametrize("names", [("word", "word"), ("word", "Word"), ("words", "word"), ("a - words", "b - words")])
def test_several_tiers_of_words_are_refused(tmp_path, names):
    path = tmp_path / "story.TextGrid"
    one = {names[0]: (Interval(0.0, 1.0, "one"),)}
    two = long_format(one | {"other": (Interval(0.0, 1.0, "two"),)}).replace('"other"', quoted(names[1]))
    path.write_text(two)
    with pytest.raises(DataError, match=r"2 tiers that could be 'word' \("):
        words(read_textgrid(path))


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
        ('"AH0"', '"AH"0"', 'line 18: an interval\'s text does not end, or a quote in it is not doubled: "AH"0"'),
        ("xmin = 0\n            xmax = 60", "xmin = 0,5\n            xmax = 60", "an interval's start, got 0,5"),
        ("xmin = 0\n            xmax = 60", "xmin = 1e999\n            xmax = 60", "an interval's start, got 1e999"),
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
