"""The two thresholds of the built-in constitution, and what is a score.

A node may run under another constitution; its gates then decide by that one. What is decided here
is the same with and without the native wheel.
"""

from __future__ import annotations

import math

__all__ = ["IHSAN_THRESHOLD", "SNR_THRESHOLD", "is_score", "meets"]

#: Least excellence (Ihsan) that passes.
IHSAN_THRESHOLD = 0.95
#: Least ratio of signal to noise that passes.
SNR_THRESHOLD = 0.85


def is_score(value: object) -> bool:
    """Whether ``value`` is a finite number in [0, 1], and no truth value nor negative zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    number = float(value) if abs(value) <= 1 else math.nan
    return 0.0 <= number <= 1.0 and math.copysign(1.0, number) > 0


def meets(value: float, threshold: float) -> bool:
    """Whether ``value`` is a score, and not below ``threshold``."""
    return is_score(value) and value >= threshold
