"""Is a data set complete, and does it agree with itself?"""

from __future__ import annotations

from .dataset import GB, check_dataset

__all__ = [
    "GB",
    "check_dataset",
]
