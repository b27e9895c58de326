"""One self-contained page about what was run and what came out, from saved results."""

from __future__ import annotations

from .page import write_report

__all__ = ["write_report"]
