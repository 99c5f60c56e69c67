"""The native wheel ``bizra``, if it is installed.

Nothing here pretends: the module is the wheel or it is ``None`` with a reason.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

__all__ = ["load"]

logger = logging.getLogger(__name__)

#: Names without which a module called ``bizra`` is not the wheel.
_NEEDED = ("Constitution", "NodeIdentity", "domain_separated_digest")


def load() -> tuple[Any | None, str | None]:
    """The wheel, or ``None`` and why there is none."""
    try:
        module = importlib.import_module("bizra")
    except ImportError as error:
        return None, f"the wheel bizra cannot be imported: {error}"
    except Exception as error:  # A broken installation must not take this package with it.
        logger.warning("the wheel bizra fails when it is imported", exc_info=True)
        return None, f"the wheel bizra fails when it is imported: {error!r}"
    missing = [name for name in _NEEDED if not hasattr(module, name)]
    if missing:
        return None, f"the module bizra is not the wheel: it has no {', '.join(missing)}"
    return module, None
