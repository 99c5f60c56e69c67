"""Envelopes: what was sealed is proven, and nothing else is."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bizra
from vectors import pci

# The second half of 2098 in which the old envelopes begin to be valid.
IN_2099 = 4070908800

SAFE = 2**53 - 1
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(-1e15, 1e15, allow_subnormal=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def identity():
    return bizra.NodeIdentity.from_secret(bytes(range(1, 33)))


@pytest.fixture
def envelope(identity):
    return bizra.PCIEnvelope.create(identity, '{"b": 1, "a": [true, null]}')


def test_an_envelope_says_what_it_is(identity, envelope):
    assert envelope.id.startswith("pci_") and len(envelope.id) == 36
    assert envelope.version == "2.0"
    assert envelope.sender == identity.node_id
    assert envelope.public_key == identity.public_key
    assert envelope.timestamp.endswith("Z")
    assert envelope.ttl == 3600
    assert envelope.audience is None
    assert envelope.payload == '{"a":[true,null],"b":1}'
    assert envelope.content_hash == bizra.domain_separated_digest(envelope.payload)
    assert envelope.constitution == bizra.Constitution().digest
    assert envelope.provenance == []
    assert envelope.gates is None
    assert len(envelope.signature) == 128
    assert repr(envelope) == f"PCIEnvelope(id='{envelope.id}', sender=node_79b5562e)"


def test_an_envelope_is_verified_wherever_it_went(envelope):
    assert envelope.verify()
    for again in (
        bizra.PCIEnvelope.from_json(envelope.to_json()),
        bizra.PCIEnvelope.from_json(envelope.to_json().encode()),
        bizra.PCIEnvelope.from_json(envelope.to_dict()),
        bizra.PCIEnvelope.from_json(json.dumps(envelope.to_dict(), indent=2)),
        pickle.loads(pickle.dumps(envelope)),
        copy.deepcopy(envelope),
    ):
        assert again == envelope
        assert hash(again) == hash(envelope)
        assert again.verify()
    assert bizra.PCIEnvelope.verify_json(json.dumps({"envelope": envelope.to_dict()}))


@given(JSON)
def test_any_json_can_be_sealed_and_comes_back(identity, payload):
    if isinstance(payload, str):
        payload = [payload]
    envelope = bizra.PCIEnvelope.create(identity, payload, 60)
    assert envelope.verify()
    assert json.loads(envelope.payload) == payload
    assert envelope.to_dict()["payload"] == payload


@given(st.data())
def test_whatever_is_changed_is_noticed(identity, data):
    envelope = bizra.PCIEnvelope.create(identity, {"amount": 1, "to": "somebody"})
    fields = envelope.to_dict()
    name = data.draw(st.sampled_from(sorted(fields)))
    other = data.draw(JSON | st.sampled_from(["2.0", "1.0"]))
    if other == fields[name]:
        return
    report = bizra.PCIEnvelope.verify_json(json.dumps({**fields, name: other}))
    assert not report
    assert report.code.startswith("Reject")
    assert report.error
    assert not report.checks[-1][1]


@given(st.binary() | st.text())
def test_verification_answers_anything(data):
    try:
        report = bizra.PCIEnvelope.verify_json(data)
    except UnicodeEncodeError:
        return
    assert not report.valid
    assert report.to_dict()["code"] == report.code


def test_time_audience_and_version_are_checked(identity):
    envelope = bizra.PCIEnvelope.create(identity, {}, 60, audience=identity.node_id)
    other = bizra.NodeIdentity().node_id
    assert envelope.audience == identity.node_id
    assert envelope.verify()
    assert envelope.verify(audience=identity.node_id)
    assert envelope.verify(audience=identity.node_id.id)
    assert envelope.verify(audience=other).code == "RejectAudience"
    assert envelope.verify(now=0).code == "RejectFuture"
    assert envelope.verify(now=IN_2099).code == "RejectExpired"
    for wrong in (float("nan"), float("inf"), 1e300):
        with pytest.raises(bizra.InvalidInput):
            envelope.verify(now=wrong)


def test_parents_are_named_by_id_and_hash(identity, envelope):
    pair = (envelope.id, envelope.content_hash)
    for parent in (envelope, pair):
        child = bizra.PCIEnvelope.create(identity, {}, provenance=[parent])
        assert child.provenance == [pair]
        report = child.verify()
        assert report
        assert report.checks[-1] == ("provenance", True, "unresolved: 1 of 1 parents")
    for wrong in ("pci_00", [envelope.id], [("a", "b")], [pair] * 65, [None]):
        with pytest.raises(ValueError):
            bizra.PCIEnvelope.create(identity, {}, provenance=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "",
        '{"a":1,"a":2}',
        '"\\ud800"',
        "9007199254740992",
        "NaN",
        {"a": 2**53},
        {"a": float("nan")},
        {1: 1, "1": 2},
        "[" * 65 + "]" * 65,
        '"' + "x" * 2**20 + '"',
    ],
)
def test_what_cannot_be_signed_is_refused(identity, wrong):
    with pytest.raises(ValueError) as caught:
        bizra.PCIEnvelope.create(identity, wrong)
    assert isinstance(caught.value, bizra.InvalidInput)


def test_what_no_json_says_is_a_type_error(identity):
    with pytest.raises(TypeError):
        bizra.PCIEnvelope.create(identity, {"a": object()})
    with pytest.raises(TypeError):
        bizra.PCIEnvelope.create("identity", {})


@pytest.mark.parametrize("ttl", [-1, 0, 3601, 2**40])
def test_a_time_to_live_is_an_hour_at_most(identity, ttl):
    with pytest.raises(ValueError, match="ttl"):
        bizra.PCIEnvelope.create(identity, {}, ttl)


def test_what_has_no_form_is_not_read(envelope):
    for wrong in ("", "{}", "[]", {**envelope.to_dict(), "more": 1}, {"id": "pci_00"}):
        with pytest.raises(bizra.InvalidInput) as caught:
            bizra.PCIEnvelope.from_json(wrong)
        assert caught.value.code.startswith("Reject")


def test_old_envelopes_are_read_where_that_is_asked_for():
    for vector in pci("old_envelopes"):
        text = vector["envelope_utf8"]
        # Some have an integer that the strict reader does not take.
        refused = bizra.PCIEnvelope.verify_json(text, now=IN_2099).code
        assert refused in ("RejectVersion", "RejectSchema")
        report = bizra.PCIEnvelope.verify_json(text, now=IN_2099, accept_v1=True)
        assert report.code == vector["code"], vector["case"]
        if report:
            envelope = bizra.PCIEnvelope.from_json(text, accept_v1=True)
            assert envelope.version == "1.0"
            assert envelope.constitution is None
            assert pickle.loads(pickle.dumps(envelope)) == envelope
            assert envelope.verify(now=IN_2099, accept_v1=True)
