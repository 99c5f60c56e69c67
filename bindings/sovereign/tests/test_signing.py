"""Signing with the key of the node: the node's own, or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import vectors

from core.sovereign import RustLifecycleManager, SigningUnavailable, signing
from core.sovereign.keystore import read_node_key


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def identity(secret: str, public_key: str) -> dict[str, Any]:
    return {
        "version": 1,
        "protection": "none",
        "label": None,
        "public_key": public_key,
        "secret": secret,
    }


def keystore(data_dir: Path, number: int = 0) -> Path:
    """A keystore as a node makes it, with the identity of a vector."""
    folder = data_dir / "identities"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    case = vectors()["identities"][number]
    file = identity(case["secret"], case["public_key"])
    write(folder / f"{case['node_id']}.json", json.dumps(file))
    write(folder / "active", f"{case['node_id']}\n")
    return folder


def refusal(data_dir: Path) -> str:
    rust = RustLifecycleManager(use_pyo3=False, data_dir=data_dir)
    with pytest.raises(SigningUnavailable) as caught:
        rust.pyo3_sign(b"message")
    return str(caught.value)


def test_signatures_are_those_of_existing_nodes(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    cases = vectors()
    for number, owner in enumerate(cases["identities"]):
        keystore(tmp_path, number)
        rust = RustLifecycleManager(use_pyo3=False, data_dir=tmp_path)
        assert rust.stats()["backend"]["sign"] == "cryptography"
        signed = [case for case in cases["signatures"] if case["secret"] == owner["secret"]]
        for case in signed:
            signature, public_key = rust.pyo3_sign(bytes.fromhex(case["message"]))
            assert (signature, public_key) == (case["signature"], owner["public_key"])


def test_the_wheel_signs_the_same(native: Any, tmp_path: Path) -> None:
    cases = vectors()
    keystore(tmp_path)
    rust = RustLifecycleManager(data_dir=tmp_path)
    assert rust.stats()["backend"]["sign"] == "native"
    owner = cases["identities"][0]
    for case in cases["signatures"]:
        if case["secret"] == owner["secret"]:
            expected = (case["signature"], owner["public_key"])
            assert rust.pyo3_sign(bytes.fromhex(case["message"])) == expected


def test_the_key_is_the_same_for_every_call_and_every_manager(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    keystore(tmp_path)
    made = [
        RustLifecycleManager(use_pyo3=False, data_dir=tmp_path).pyo3_sign(b"message")
        for _ in range(3)
    ]
    assert len(set(made)) == 1
    assert made[0][1] == vectors()["identities"][0]["public_key"]


def test_a_rotation_takes_effect_at_once_also_where_the_pointer_is_behind(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    folder = keystore(tmp_path)
    old, new = vectors()["identities"][:2]
    file = identity(new["secret"], new["public_key"])
    write(folder / f"{new['node_id']}.json", json.dumps(file))
    write(folder / f"{old['node_id']}.rotation", json.dumps({"new_public_key": new["public_key"]}))
    rust = RustLifecycleManager(use_pyo3=False, data_dir=tmp_path)
    assert rust.pyo3_sign(b"x")[1] == new["public_key"]
    # A circle, which no node makes, is not followed for ever.
    write(folder / f"{new['node_id']}.rotation", json.dumps({"new_public_key": old["public_key"]}))
    assert "have no end" in refusal(tmp_path)


def test_every_state_that_cannot_sign_says_why(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    assert "there is no keystore" in refusal(tmp_path)
    folder = keystore(tmp_path)
    name = vectors()["identities"][0]["node_id"]
    path = folder / f"{name}.json"
    good = json.loads(path.read_text())

    folder.chmod(0o755)
    assert "run: chmod 700" in refusal(tmp_path)
    folder.chmod(0o700)
    path.chmod(0o644)
    assert "run: chmod 600" in refusal(tmp_path)

    for change, reason in (
        ({"version": 2}, "unknown version"),
        ({"protection": "xchacha20poly1305"}, "let the node sign"),
        ({"secret": good["secret"].upper()}, "the secret is not 64 hex digits"),
        ({"secret": "00" * 32}, "the secret is not the one of the public key"),
        ({"public_key": "00" * 32}, "its name is that of another identity"),
        ({"public_key": None}, "the public key is not 64 hex digits"),
    ):
        write(path, json.dumps({**good, **change}))
        assert reason in refusal(tmp_path), change
    write(path, "[]")
    assert "it is not a JSON object" in refusal(tmp_path)
    path.unlink()
    assert "No such file" in refusal(tmp_path)
    (tmp_path / "elsewhere").write_text(json.dumps(good))
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refusal(tmp_path)

    write(folder / "active", "../../etc/passwd")
    assert "it names no identity" in refusal(tmp_path)
    write(folder / "keystore.key", "{}")
    assert "is encrypted" in refusal(tmp_path)


def test_without_anything_that_signs_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore(tmp_path)
    monkeypatch.setattr(signing, "_with_cryptography", lambda: None)
    rust = RustLifecycleManager(use_pyo3=False, data_dir=tmp_path)
    assert rust.stats()["backend"]["sign"] == "unavailable"
    with pytest.raises(RuntimeError, match="PyO3 bindings not available for signing"):
        rust.pyo3_sign(b"message")


def test_the_secret_is_not_shown(tmp_path: Path) -> None:
    keystore(tmp_path)
    key = read_node_key(tmp_path)
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)
