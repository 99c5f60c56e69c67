"""With the wheel and without it: the same answer, for anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.sovereign import RustLifecycleManager, digest
from core.sovereign._blake3 import blake3_digest
from core.sovereign.signing import sign_as_node

often = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def both(native: Any) -> tuple[RustLifecycleManager, RustLifecycleManager]:
    return RustLifecycleManager(), RustLifecycleManager(use_pyo3=False)


@often
@given(st.floats() | st.integers() | st.sampled_from([0.85, 0.95, 1.0, -0.0, 0.8499999999999999]))
def test_of_thresholds(
    both: tuple[RustLifecycleManager, RustLifecycleManager], score: float
) -> None:
    with_wheel, without = both
    assert with_wheel.pyo3_check_ihsan(score) is without.pyo3_check_ihsan(score)
    assert with_wheel.pyo3_check_snr(score) is without.pyo3_check_snr(score)


@often
@given(st.binary(max_size=3000), st.sampled_from([bytes, bytearray, memoryview]))
def test_of_digests(
    both: tuple[RustLifecycleManager, RustLifecycleManager], message: bytes, kind: Any
) -> None:
    with_wheel, without = both
    expected = with_wheel.pyo3_domain_digest(kind(message))
    assert expected == without.pyo3_domain_digest(kind(message))
    assert expected == blake3_digest(digest.DOMAIN_PREFIX + message).hex()


@often
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_of_signatures(native: Any, tmp_path: Path, secret: bytes, message: bytes) -> None:
    pytest.importorskip("cryptography")
    identity = native.NodeIdentity.from_secret(secret)
    folder = tmp_path / "identities"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = identity.public_key[:32]
    file = {
        "version": 1,
        "protection": "none",
        "label": None,
        "public_key": identity.public_key,
        "secret": secret.hex(),
    }
    for path, text in (
        (folder / f"{name}.json", json.dumps(file)),
        (folder / "active", f"{name}\n"),
    ):
        path.write_text(text)
        path.chmod(0o600)
    made = sign_as_node(message, tmp_path, native)
    assert made == sign_as_node(message, tmp_path, None)
    assert native.NodeIdentity.verify(message, *made)
