"""Node ids, keys, signatures and digests."""

import copy
import json
import os
import pickle
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bizra
from vectors import pci

SECRET = bytes(range(1, 33))
PUBLIC = "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"


@pytest.fixture
def identity():
    return bizra.NodeIdentity.from_secret(SECRET)


def test_digests_are_those_of_existing_nodes():
    assert bizra.domain_separated_digest(b"hello bizra") == (
        "c05bf844556babc164032a2144a8453f361569235e65455ffd0f81823fb6e126"
    )
    for vector in pci("digests"):
        message = bytes.fromhex(vector["message"])
        for data in (message, bytearray(message), memoryview(message)):
            assert bizra.domain_separated_digest(data) == vector["digest"]


@given(st.binary(max_size=10_000))
def test_every_kind_of_bytes_is_the_same_bytes(data):
    digest = bizra.domain_separated_digest(data)
    backwards = memoryview(data[::-1])[::-1]
    assert bizra.domain_separated_digest(bytearray(data)) == digest
    assert bizra.domain_separated_digest(memoryview(data)) == digest
    assert bizra.domain_separated_digest(backwards) == digest


@given(st.text())
def test_text_is_its_utf_8(text):
    try:
        data = text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError):
            bizra.domain_separated_digest(text)
        return
    assert bizra.domain_separated_digest(text) == bizra.domain_separated_digest(data)


@pytest.mark.parametrize("wrong", [None, 7, 1.5, [1], {"a": 1}, object()])
def test_what_is_no_bytes_is_a_type_error(wrong, identity):
    with pytest.raises(TypeError, match="bytes-like"):
        bizra.domain_separated_digest(wrong)
    with pytest.raises(TypeError):
        identity.sign(wrong)


def test_identities_are_those_of_existing_nodes():
    for vector in pci("identities"):
        identity = bizra.NodeIdentity.from_secret(bytes.fromhex(vector["secret"]))
        assert identity.public_key == vector["public_key"]
        assert identity.node_id.id == vector["node_id"]
        assert str(identity.node_id) == vector["node_id_str"]


def test_signatures_are_those_of_existing_nodes():
    for vector in pci("signatures"):
        identity = bizra.NodeIdentity.from_secret(bytes.fromhex(vector["secret"]))
        message = bytes.fromhex(vector["message"])
        assert identity.sign(message) == vector["signature"]
        verify = bizra.NodeIdentity.verify
        assert verify(message, vector["signature"], identity.public_key)
        assert not verify(message + b"!", vector["signature"], identity.public_key)


def test_claims_that_existing_nodes_wrongly_accept_are_refused():
    for claim in pci("claims"):
        message = bytes.fromhex(claim["message"])
        found = bizra.NodeIdentity.verify(message, claim["signature"], claim["public_key"])
        assert found is claim["valid"], claim


@given(st.binary(), st.text(max_size=130), st.text(max_size=70))
def test_verification_answers_anything(message, signature, public_key):
    try:
        assert bizra.NodeIdentity.verify(message, signature, public_key) is False
    except UnicodeEncodeError:
        pass  # Half a surrogate is no text, which Python says by itself.


def test_a_new_identity_is_another_each_time():
    one, other = bizra.NodeIdentity(), bizra.NodeIdentity()
    assert one != other
    signature = one.sign(b"x")
    assert bizra.NodeIdentity.verify(b"x", signature, one.public_key)
    assert not bizra.NodeIdentity.verify(b"x", signature, other.public_key)
    assert bizra.NodeIdentity.from_secret(one.secret_bytes()) == one


def test_a_secret_has_32_bytes():
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="Secret must be 32 bytes") as caught:
            bizra.NodeIdentity.from_secret(wrong)
        assert isinstance(caught.value, bizra.InvalidInput)


def test_an_identity_is_itself_and_keeps_its_secret(identity):
    again = bizra.NodeIdentity.from_secret(bytearray(SECRET))
    assert again == identity
    assert hash(again) == hash(identity)
    assert identity != PUBLIC
    assert copy.copy(identity) is identity
    assert copy.deepcopy(identity) is identity
    assert SECRET.hex() not in repr(identity)
    assert repr(identity) == "NodeIdentity(node_id='node_79b5562e')"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(identity)


def test_a_saved_identity_is_read_back(identity, tmp_path):
    path = tmp_path / "key.json"
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bizra.NodeIdentity.load(path) == identity
    assert bizra.NodeIdentity.load(str(path)).secret_bytes() == SECRET
    # As the keystore of a node has it.
    file = json.loads(path.read_text())
    assert file == {
        "version": 1,
        "protection": "none",
        "label": None,
        "public_key": PUBLIC,
        "secret": SECRET.hex(),
    }
    with pytest.raises(OSError, match="exists") as caught:
        bizra.NodeIdentity().save(path)
    assert isinstance(caught.value, bizra.StorageError)
    assert bizra.NodeIdentity.load(path) == identity


def test_a_file_that_others_can_read_is_refused(identity, tmp_path):
    path = tmp_path / "key.json"
    identity.save(path)
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600") as caught:
        bizra.NodeIdentity.load(path)
    assert isinstance(caught.value, bizra.Forbidden)
    path.chmod(0o600)
    link = tmp_path / "link"
    os.symlink(path, link)
    with pytest.raises(PermissionError, match="link"):
        bizra.NodeIdentity.load(link)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "unknown version"),
        ({"protection": "xchacha20poly1305"}, "encrypted"),
        ({"secret": "00"}, "64 hex digits"),
        ({"secret": "00" * 32}, "not the one of its public key"),
        ({"secret": None}, "no identity file"),
    ],
)
def test_a_damaged_file_is_refused(identity, tmp_path, change, reason):
    path = tmp_path / "key.json"
    identity.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(bizra.InvalidInput, match=reason):
        bizra.NodeIdentity.load(path)
    with pytest.raises(OSError):
        bizra.NodeIdentity.load(tmp_path / "none")


def test_a_node_id_is_32_digits():
    text = PUBLIC[:32]
    node = bizra.NodeId(text)
    assert (node.id, str(node), repr(node)) == (text, "node_79b5562e", f"NodeId('{text}')")
    assert node == bizra.NodeId(text)
    assert hash(node) == hash(bizra.NodeId(text))
    assert node != text
    assert bizra.NodeId("0" * 32) < node <= node
    assert pickle.loads(pickle.dumps(node)) == node
    assert copy.deepcopy(node) == node
    for wrong in ("", text[:-1], text.upper(), "g" * 32, "a\u00e9" * 10 + "bb"):
        with pytest.raises(ValueError, match="NodeId must be 32 hex characters"):
            bizra.NodeId(wrong)
    with pytest.raises(TypeError):
        bizra.NodeId(7)
