"""The page: whole, by itself, accessible, escaped, and never written over."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from jinja2 import UndefinedError
from typer.testing import CliRunner

from brainwavlm_fast.cli.main import app
from brainwavlm_fast.errors import BwlmError
from brainwavlm_fast.report import page as page_module
from brainwavlm_fast.report import write_report
from brainwavlm_fast.report.page import page_template
from tests.helpers.outline import Outline
from tests.helpers.reported import make_reported_run
from tests.helpers.saved_runs import make_saved_run, make_transfer


def bwlm(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, planted_tree):
    """A run with everything, and the page about it."""
    folder = tmp_path_factory.mktemp("whole")
    run = make_reported_run(folder / "run", planted_tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "WIDTH", 320)
        write_report([run, make_transfer(folder / "transfer")])
    return run, (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def page(whole):
    return whole[1]


def test_its_structure_is_accessible(page):
    outline = Outline(page)
    assert outline.problems == []
    assert outline.all("html")[0][1]["lang"] == "en"
    assert outline.all("title")[0][2] == "BrainWavLM: UTS01-nonac"
    assert "width=device-width" in page
    levels = [int(tag[1]) for tag, _, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "main"} <= {tag for tag, _, _ in outline.elements}
    pictures = outline.all("img")
    assert len(pictures) >= 6
    assert all(len(attributes["alt"]) > 20 for _, attributes, _ in pictures)
    for _, attributes, _ in outline.all("canvas"):
        assert attributes["role"] == "img"
        assert attributes["aria-label"]
    (brain, _) = outline.all("canvas")
    assert brain[1]["tabindex"] == "0"
    ids = [attributes["id"] for _, attributes, _ in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert brain[1]["aria-describedby"] in ids
    assert any(attributes.get("aria-live") == "polite" for _, attributes, _ in outline.elements)
    tables = outline.all("table")
    assert len(tables) == len(outline.all("caption")) >= 5
    heads = outline.all("th")
    assert len(heads) > 2 * len(tables)
    assert all(attributes.get("scope") in ("row", "col") for _, attributes, _ in heads)
    scrolling = [attributes for _, attributes, _ in outline.elements if "scroll" in attributes.get("class", "").split()]
    assert len(scrolling) > len(tables)  # all of them, and wide figures
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)
    labeled = [
        attributes.get("aria-label") for _, attributes, _ in outline.all("input") if attributes["type"] == "number"
    ]
    assert labeled == ["Threshold"]


def test_its_colors_are_told_apart(page):
    def luminance(color):
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    inks = {"#1b1e21", "#4a5056", "#0b57d0"}
    papers = {"#ffffff", "#f4f5f6", "#fff7ed"}
    style = page[page.index("<style>") : page.index("</style>")]
    assert set(re.findall(r"[^-]color: (#\w+)", style)) | {"#0b57d0"} == inks  # no other color of text
    assert set(re.findall(r"background: (#\w{6})", style)) <= papers
    assert min(contrast(ink, paper) for ink in inks for paper in papers) > 4.5


def test_nothing_comes_from_elsewhere(page):
    outline = Outline(page)
    for tag, attributes, _ in outline.elements:
        for name in ("src", "href", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert "default-src 'none'" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "fetch(" not in page
    assert "XMLHttpRequest" not in page


def test_its_numbers_are_the_results(whole):
    run, page = whole
    encoding = json.loads((run / "evaluation/summary.json").read_text())["encoding"]
    rows = [text for tag, _, text in Outline(page).elements if tag == "tr"]
    for name in ("all", "ac"):
        texts = []
        for kind in ("pretrained", "tuned"):
            low, high = encoding[name]["intervals"][kind]
            texts.append(f"{encoding[name][kind]:.4f} [{low:.4f}, {high:.4f}]")
        means = "".join(texts)
        assert [row for row in rows if row.startswith(f"UTS01-nonac{name}{means}")]
    assert [row for row in rows if row.startswith("tuned on UTS01-all+12.5")]  # of the transfer
    for heading in ("In short", "Warnings and data quality", "On the brain", "Figures", "Numbers", "What was run",
                    "Repeat it", "How to cite"):  # fmt: skip
        assert f">{heading}</h2>" in page
    assert "arXiv:2502.08866" in page
    assert "left AC" in page  # means by region


def test_what_is_true_of_many_runs_is_said_once(tmp_path):
    folders = [
        make_saved_run(tmp_path / f"{subject}-{roi}", subject=subject, roi=roi, data=tmp_path)
        for subject in ("UTS01", "UTS02")
        for roi in ("all", "ac")
    ]
    write_report(folders, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>BrainWavLM: 4 runs of UTS01, UTS02</h1>" in page
    assert page.count("is the last that was evaluated") == 1
    assert "<strong>Note</strong> (UTS01-all, UTS01-ac, UTS02-all, UTS02-ac): The best epoch" in page
    assert "10 figures of single voxels" in page
    names = [
        attributes["aria-label"] for _, attributes, _ in Outline(page).elements if attributes.get("role") == "region"
    ]
    assert len(names) == len(set(names))


def test_what_users_write_is_text(tmp_path, planted_tree):
    evil = '<img src=x onerror="alert(1)">'
    folder = make_saved_run(tmp_path / "run", roi="all", data=planted_tree[0], n_voxels=800)
    alike = [make_saved_run(tmp_path / name, evaluated=False) for name in ("<script>", "<script>alert(2)<")]
    for path in (folder / "config.json", folder / "evaluation/summary.json"):
        found = json.loads(path.read_text())
        (found["train"] if "train" in found else found["config"]["train"])["target"] = f"/data/{evil}</script>.hf5"
        path.write_text(json.dumps(found))
    path = folder / "evaluation/summary.json"
    found = json.loads(path.read_text())
    found["settings"]["stories"]["test"] = [evil]
    path.write_text(json.dumps(found))
    write_report([folder, *alike], out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.problems == []
    labels = [text for tag, _, text in outline.elements if tag == "strong"]
    assert {"<script>", "<script>alert(2)<"} <= set(labels)  # runs named by their folders
    assert "onerror" in page
    assert evil not in page
    assert not [attributes for _, attributes, _ in outline.elements if "onerror" in attributes]
    assert len(outline.all("script")) == 2  # a map's data, and the page's own


def test_what_the_template_shows_is_escaped():
    environment = page_template().environment
    shown = environment.from_string('<p title="{{ x }}">{{ x }}</p>').render(x='"<a & b>')
    assert shown == '<p title="&#34;&lt;a &amp; b&gt;">&#34;&lt;a &amp; b&gt;</p>'
    assert "</script><" not in environment.from_string("{{ x | tojson }}").render(x={"a": "</script><script>"})
    with pytest.raises(ValueError, match="Out of range"):
        environment.from_string("{{ x | tojson }}").render(x=float("nan"))
    with pytest.raises(UndefinedError):
        environment.from_string("{{ misspelt }}").render()


def test_the_same_is_kept_and_nothing_is_overwritten(run, tmp_path):
    first = bwlm(run, "--json")
    found = json.loads(first.stdout)
    path = run / "report.html"
    assert (found["file"], found["bytes"], found["written"]) == (str(path), path.stat().st_size, True)
    before = path.read_bytes()
    again = bwlm(run)
    assert again.exit_code == 0
    assert "nothing to do" in again.stderr
    other = make_saved_run(tmp_path / "other", seed=5)
    refused = bwlm(other, "--out", path)
    assert refused.exit_code == 2
    assert "not the report of these results" in refused.stderr
    assert "report-2.html" in refused.stderr
    assert path.read_bytes() == before
    (tmp_path / "mine.html").write_text("mine")
    assert bwlm(run, "--out", tmp_path / "mine.html").exit_code == 2
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert bwlm(run, "--out", tmp_path).exit_code == 2


def test_a_run_without_an_evaluation_has_a_page_that_says_so(tmp_path):
    folder = make_saved_run(tmp_path / "new", evaluated=False)
    write_report([folder])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "has not been evaluated" in page
    assert f"bwlm evaluate {folder}" in page
    assert "On the brain" not in page
    assert Outline(page).problems == []


def test_a_data_set_that_is_not_here_takes_only_the_map_away(tmp_path, planted_tree):
    folder = make_saved_run(tmp_path / "run", data=tmp_path / "gone")
    write_report([folder])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "No map: no brain of UTS01 can be drawn" in page
    assert "Numbers</h2>" in page
    with pytest.raises(BwlmError, match="not the report of these results"):  # with the data there is more to show
        write_report([folder], data=planted_tree[0])


def test_runs_of_different_data_are_not_subtracted(tmp_path, planted_tree):
    folders = [
        make_saved_run(tmp_path / roi, roi=roi, data=planted_tree[0], n_voxels=n)
        for roi, n in (("all", 800), ("ac", 60))
    ]
    with pytest.raises(BwlmError, match="800 voxels and .* 60"):
        write_report(folders, out=tmp_path / "page.html")
    path = folders[1] / "evaluation/summary.json"  # nor do they share a map where no figure compares them
    path.write_text(path.read_text().replace('"wheretheressmoke"', '"adventure"'))
    with pytest.raises(BwlmError, match="800 voxels and .* 60"):
        write_report(folders, out=tmp_path / "page.html")


def test_not_results(tmp_path):
    result = bwlm(tmp_path)
    assert result.exit_code == 2
    assert "is neither a run" in result.stderr
