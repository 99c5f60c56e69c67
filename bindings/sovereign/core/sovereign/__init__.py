"""The sovereign runtime around a node of bizra-omega.

Names are imported when they are first used, so that ``import core.sovereign`` costs little and
needs nothing but the standard library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.sovereign.api_client import RustAPIClient
    from core.sovereign.digest import domain_separated_digest
    from core.sovereign.errors import (
        NativeUnavailable,
        PipelineStateError,
        PrivateFileError,
        RustAPIError,
        RustUnreachable,
        SigningUnavailable,
        SovereignError,
    )
    from core.sovereign.event_bus import EventBus
    from core.sovereign.filters import (
        ConstitutionalFilter,
        DaughterTestFilter,
        FilterResult,
        IhsanFilter,
        RateLimitFilter,
        SNRFilter,
    )
    from core.sovereign.gate_filter import create_rust_gate_filter
    from core.sovereign.health import RustServiceHealth, RustServiceStatus
    from core.sovereign.opportunity import (
        AutonomyLevel,
        OpportunityStatus,
        PipelineOpportunity,
        PipelineStage,
    )
    from core.sovereign.opportunity_pipeline import (
        OpportunityPipeline,
        create_opportunity_pipeline,
    )
    from core.sovereign.proactive_integration import (
        EntityConfig,
        EntityCycleResult,
        EntityMode,
        ProactiveSovereignEntity,
        create_proactive_entity,
    )
    from core.sovereign.process import RustProcessManager
    from core.sovereign.rust_lifecycle import (
        RustLifecycleManager,
        create_rust_lifecycle,
    )
    from core.sovereign.thresholds import IHSAN_THRESHOLD, SNR_THRESHOLD
    from core.sovereign.websocket import RustWebSocket

__version__ = "0.1.0"

_HOMES = {
    "api_client": ("RustAPIClient",),
    "digest": ("domain_separated_digest",),
    "errors": (
        "NativeUnavailable",
        "PipelineStateError",
        "PrivateFileError",
        "RustAPIError",
        "RustUnreachable",
        "SigningUnavailable",
        "SovereignError",
    ),
    "event_bus": ("EventBus",),
    "filters": (
        "ConstitutionalFilter",
        "DaughterTestFilter",
        "FilterResult",
        "IhsanFilter",
        "RateLimitFilter",
        "SNRFilter",
    ),
    "gate_filter": ("create_rust_gate_filter",),
    "health": ("RustServiceHealth", "RustServiceStatus"),
    "opportunity": (
        "AutonomyLevel",
        "OpportunityStatus",
        "PipelineOpportunity",
        "PipelineStage",
    ),
    "opportunity_pipeline": ("OpportunityPipeline", "create_opportunity_pipeline"),
    "proactive_integration": (
        "EntityConfig",
        "EntityCycleResult",
        "EntityMode",
        "ProactiveSovereignEntity",
        "create_proactive_entity",
    ),
    "process": ("RustProcessManager",),
    "rust_lifecycle": ("RustLifecycleManager", "create_rust_lifecycle"),
    "thresholds": ("IHSAN_THRESHOLD", "SNR_THRESHOLD"),
    "websocket": ("RustWebSocket",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "IHSAN_THRESHOLD",
    "SNR_THRESHOLD",
    "AutonomyLevel",
    "ConstitutionalFilter",
    "DaughterTestFilter",
    "EntityConfig",
    "EntityCycleResult",
    "EntityMode",
    "EventBus",
    "FilterResult",
    "IhsanFilter",
    "NativeUnavailable",
    "OpportunityPipeline",
    "OpportunityStatus",
    "PipelineOpportunity",
    "PipelineStage",
    "PipelineStateError",
    "PrivateFileError",
    "ProactiveSovereignEntity",
    "RateLimitFilter",
    "RustAPIClient",
    "RustAPIError",
    "RustLifecycleManager",
    "RustProcessManager",
    "RustServiceHealth",
    "RustServiceStatus",
    "RustUnreachable",
    "RustWebSocket",
    "SNRFilter",
    "SigningUnavailable",
    "SovereignError",
    "create_opportunity_pipeline",
    "create_proactive_entity",
    "create_rust_gate_filter",
    "create_rust_lifecycle",
    "domain_separated_digest",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
