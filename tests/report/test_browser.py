"""The page in a real browser: no message on its console, and the map answers the pointer and the keyboard."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile

import pytest

from brainwavlm_fast.report import write_report
from brainwavlm_fast.results.saved import open_saved

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--window-size=375,800",
    "--virtual-time-budget=10000", "--dump-dom",
)  # fmt: skip
# what a reader does, after the page's own script: point along the map, press a key, and note what is said
READER = """<script>
const wait = setInterval(() => {
  const root = document.querySelector(".brainmap[data-ready=yes]");
  if (!root) return;
  clearInterval(wait);
  const canvas = root.querySelector("canvas"), box = canvas.getBoundingClientRect(), said = [];
  const readout = root.querySelector(".readout");
  for (let x = 0.02; x < 1; x += 0.02) {
    const at = { clientX: box.left + x * box.width, clientY: box.top + box.height / 4 };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    said.push(readout.textContent);
  }
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  said.push("KEY " + readout.textContent);
  said.push("WIDTH " + document.documentElement.scrollWidth + " " + innerWidth);
  document.body.dataset.said = said.join("\\n");
}, 20);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: the page is not seen in a browser")
def test_the_page_in_a_browser(run, tmp_path):
    write_report([run], out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    seen = tmp_path / "seen.html"
    seen.write_text(page.replace("</body>", f"{READER}</body>"), encoding="utf-8")
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as profile:  # sockets want a short path
        command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", seen.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert 'data-said="' in done.stdout, done.stderr[-2000:]
    said = done.stdout.split('data-said="')[1].split('"')[0].split("\n")
    voxels = [line for line in said if line.startswith("Voxel ") and "no value" not in line]
    assert len(voxels) > 10
    assert any("(left, " in line for line in voxels)
    assert any("(right, " in line for line in voxels)
    (saved,) = open_saved([run]).runs
    before, after = saved.voxels("encoding/pretrained", "encoding/tuned").values()
    for line in voxels:  # what is said is what was measured
        number, gain, score = re.match(r"Voxel (\d+) \(.*\): ([-.\d]+); pre-trained r ([-.\d]*\d)", line).groups()
        assert float(score) == pytest.approx(before[int(number)], abs=6e-4)
        assert float(gain) == pytest.approx(after[int(number)] - before[int(number)], abs=7e-4)
    assert next(line for line in said if line.startswith("KEY ")) != "KEY Point at the map."
    _, width, window = next(line for line in said if line.startswith("WIDTH")).split()
    assert int(width) <= int(window)
