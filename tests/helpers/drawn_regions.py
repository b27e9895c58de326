"""A drawing as crowded as ds003020's: its 26 regions in both hemispheres, about where they lie on a flat map."""

from __future__ import annotations

from pathlib import Path

# the left hemisphere's, as shares of its map: x from the front to where the hemispheres touch, y downwards, half width
REGIONS = {
    "AC": (0.45, 0.66, 0.05), "Broca": (0.20, 0.66, 0.04), "sPMv": (0.28, 0.52, 0.03), "M1H": (0.37, 0.28, 0.03),
    "M1F": (0.42, 0.14, 0.03), "M1M": (0.34, 0.45, 0.03), "S1H": (0.43, 0.30, 0.03), "S1F": (0.48, 0.15, 0.03),
    "S1M": (0.40, 0.47, 0.03), "FEF": (0.27, 0.33, 0.03), "FFA": (0.70, 0.77, 0.03), "OFA": (0.75, 0.73, 0.02),
    "PPA": (0.82, 0.83, 0.03), "OPA": (0.71, 0.34, 0.03), "RSC": (0.86, 0.20, 0.03), "EBA": (0.62, 0.55, 0.03),
    "V1": (0.88, 0.50, 0.05), "V2": (0.82, 0.44, 0.03), "V3": (0.79, 0.39, 0.03), "V3A": (0.78, 0.31, 0.02),
    "V3B": (0.74, 0.29, 0.02), "V4": (0.79, 0.64, 0.03), "V7": (0.74, 0.23, 0.02), "LO": (0.70, 0.50, 0.04),
    "IPS": (0.67, 0.22, 0.04), "hMT": (0.65, 0.47, 0.02),
}  # fmt: skip


def draw_regions(overlays: Path) -> None:
    """Put them beside what ``overlays.svg`` holds; an AC that is there is replaced."""
    text = overlays.read_text(encoding="utf-8").replace('inkscape:label="AC"', 'inkscape:label="former AC"')
    width, height = (float(text.split(f'{name}="')[1].split('"')[0]) for name in ("width", "height"))
    groups = []
    for name, (x, y, half) in REGIONS.items():
        ellipses = "".join(
            f'<ellipse cx="{place * width}" cy="{y * height}" rx="{half * width / 2}" ry="{1.3 * half * width / 2}"/>'
            for place in (x / 2, 1 - x / 2)
        )
        groups.append(f'<g inkscape:label="{name}">{ellipses}</g>')
    start = text.index('<g id="rois_AC"')
    end = text.index("</g>", start) + len("</g>")
    overlays.write_text(text[:start] + "".join(groups) + text[end:], encoding="utf-8")
