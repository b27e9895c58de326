"""Is a data set complete, and does it agree with itself?"""

from __future__ import annotations

from .parts import GB, Part, Report
from .tree import check_dataset

__all__ = ["GB", "Part", "Report", "check_dataset"]
