"""One self-contained HTML page about runs and their results, from saved results."""

from __future__ import annotations

from .page import write_report

__all__ = ["write_report"]
