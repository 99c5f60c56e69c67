"""The filter that has the node judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.sovereign.filters import ConstitutionalFilter, FilterResult
from core.sovereign.opportunity import PipelineOpportunity
from core.sovereign.thresholds import IHSAN_THRESHOLD, SNR_THRESHOLD

if TYPE_CHECKING:
    from core.sovereign.rust_lifecycle import RustLifecycleManager

__all__ = ["RustGateFilter", "create_rust_gate_filter"]


class RustGateFilter(ConstitutionalFilter):
    """The thresholds of the constitution, and the gates of the node while it serves.

    The thresholds are always checked, by the wheel or in Python, with the same answer; so nothing
    passes because nothing could check it. A node that serves judges the description too, and can
    only refuse more. If it does not answer, the thresholds decide, and the reason says so.
    """

    def __init__(self, lifecycle: RustLifecycleManager) -> None:
        super().__init__("Rust Gate", 2.0)
        self._lifecycle = lifecycle

    async def check(self, opportunity: PipelineOpportunity) -> FilterResult:
        rust = self._lifecycle
        snr, ihsan = opportunity.snr_score, opportunity.ihsan_score
        below = []
        if not rust.pyo3_check_ihsan(ihsan):
            below.append(f"Ihsan {_shown(ihsan, 3)} < {IHSAN_THRESHOLD}")
        if not rust.pyo3_check_snr(snr):
            below.append(f"SNR {_shown(snr, 2)} < {SNR_THRESHOLD}")
        if below:
            return FilterResult(False, "; ".join(below))
        if not rust.api_serves:
            return FilterResult(True, "Rust gate passed: thresholds only, no node serves")
        result = await rust.api_check_gates(
            content=opportunity.description, snr_score=snr, ihsan_score=ihsan
        )
        if "error" in result and result.get("status") in (0, 429, 503, 504):
            return FilterResult(
                True, f"Rust gate passed: thresholds only, Rust API error: {result['error']}"
            )
        if "error" in result:
            return FilterResult(False, f"Rust API error: {result['error']}")
        if result.get("passed") is True:
            return FilterResult(True, "Rust gate passed")
        return FilterResult(False, str(result.get("reason") or "Rust API check"))


def _shown(score: object, digits: int) -> str:
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool)
    return f"{score:.{digits}f}" if is_number else repr(score)


def create_rust_gate_filter(lifecycle: RustLifecycleManager) -> ConstitutionalFilter:
    """A filter to append to a pipeline's: what the node of ``lifecycle`` refuses does not pass."""
    return RustGateFilter(lifecycle)
