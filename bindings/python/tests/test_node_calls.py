"""What a node does for a program: the same as the plain objects, and what only a node can."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

import bizra
from nodes import actor, start, until

PROSE = (
    "The supervisor starts an actor again when it fails, and callers wait for its successor. "
    "Messages that nobody took up are sent once more, so that no question is lost on the way."
)


@pytest.fixture(scope="module")
def node():
    with start() as node:
        yield node


def test_signatures_are_those_of_plain_objects(node):
    key = node.identity.public_key
    for message in (b"hello", "hello", bytearray(b"hello"), memoryview(b"hello"), b"x" * 100_000):
        signature = node.identity.sign(message)
        assert bizra.NodeIdentity.verify(bytes_of(message), signature, key)
        assert node.identity.verify(message, signature, key)
        assert not node.identity.verify(b"other", signature, key)
    assert node.identity.node_id.id == key[:32]
    for wrong in (None, 7, ["a"]):
        with pytest.raises(TypeError):
            node.identity.sign(wrong)


def bytes_of(message):
    return message.encode() if isinstance(message, str) else bytes(message)


def test_a_batch_is_each_by_itself(node):
    messages = [f"message {number}".encode() for number in range(1024)]
    signatures = node.identity.sign_many(messages)
    assert signatures[::100] == [node.identity.sign(message) for message in messages[::100]]
    key = node.identity.public_key
    claims = list(zip(messages, signatures, [key] * len(messages)))
    claims[3] = (b"other", signatures[3], key)
    claims[4] = (messages[4], "no signature", key)
    claims[5] = (messages[5], signatures[5], "\u00e9" * 64)
    verdicts = node.identity.verify_many(claims)
    assert [at for at, verdict in enumerate(verdicts) if not verdict] == [3, 4, 5]
    assert node.identity.sign_many([]) == [] and node.identity.verify_many([]) == []
    for many in (node.identity.sign_many, node.gates.check_many):
        with pytest.raises(bizra.InvalidInput, match="at most 1024") as caught:
            many([b"a"] * 1025)
        assert caught.value.code == "BATCH_TOO_LARGE"
        for not_listed in (b"abc", "abc"):
            with pytest.raises(TypeError):
                many(not_listed)


def test_keys_are_made_and_chosen():
    with start() as node:
        first = node.identity.active()
        assert first.active and first.label is None and first.rotation is None
        second = node.identity.generate("second", activate=False)
        assert (second.label, second.active) == ("second", False)
        assert node.identity.public_key == first.public_key
        assert node.identity.activate(second.node_id).active
        assert node.identity.public_key == second.public_key
        assert [it.node_id for it in node.identity.list()] == [second.node_id, first.node_id]
        with pytest.raises(bizra.NotFound) as caught:
            node.identity.activate("0" * 32)
        assert caught.value.code == "IDENTITY_UNKNOWN"
        for label in ("", "x" * 65, "a\nb"):
            with pytest.raises(bizra.InvalidInput) as caught:
                node.identity.generate(label)
            assert caught.value.code == "INVALID_LABEL"


def test_gates_measure_and_judge(node):
    passed = node.gates.check("too short to measure", 0.9, 0.97)
    assert passed and passed.passed and passed.code is None
    refused = node.gates.check("too short to measure", 0.5, 0.97)
    assert not refused and refused.code == "RejectGateSNR" and "0.5" in refused.reason
    assert not node.gates.check(PROSE)
    harmful = node.gates.check("AKIAQX7C5WTRB3DKM2LF", 1, 1)
    assert not harmful and harmful.results[-1].gate in ("Harm", "Ihsan")
    assert not node.gates.check('{"a":', 1, 1, content_type="json")
    assert node.gates.check('{"a":1}', 1, 1, content_type="json")
    plain = bizra.GateChain().check(PROSE, 0.9, 0.97, content_type="text")
    same = node.gates.check(PROSE, 0.9, 0.97)
    assert list(same.results) == list(plain.results)
    assert same.input_hash == plain.input_hash


def test_many_contents_are_judged_each_by_itself(node):
    contents = ["a", b"b", PROSE]
    receipts = node.gates.check_many(contents, [0.9, 0.5, None], 0.97)
    assert [bool(receipt) for receipt in receipts] == [True, False, True]
    for wrong in ([0.9], [0.9, 2.0, 0.9], -1.0, float("nan")):
        with pytest.raises(bizra.InvalidInput, match="snr_score"):
            node.gates.check_many(contents, wrong, 0.97)
    for name, value in (("profile", "none"), ("content_type", "html"), ("sources", ["x"] * 33)):
        with pytest.raises(bizra.InvalidInput):
            node.gates.check("a", **{name: value})
    assert node.gates.constitution()["ihsan_threshold"] == 0.95
    assert node.gates.constitution()["digest"] == receipts[0].constitution_digest


def test_envelopes_are_made_found_and_checked(node):
    parent = node.envelopes.create({"n": 0.1, "text": "\u6f22"}, 600)
    assert (parent.ttl, parent.sender) == (600, node.identity.node_id)
    assert parent.verify() and node.envelopes.verify(parent)
    child = node.envelopes.create([1, 2], provenance=[parent], audience=node.identity.node_id)
    pair = (parent.id, parent.content_hash)
    assert node.envelopes.create(None, provenance=[pair]).provenance == child.provenance
    assert node.envelopes.get(child.id) == child
    assert node.envelopes.get("pci_" + "0" * 32) is None
    for form in (child, child.to_json(), child.to_json().encode(), child.to_dict()):
        assert node.envelopes.verify(form).valid
    broken = child.to_dict()
    broken["payload"] = [1, 3]
    reports = node.envelopes.verify_many([child, broken, "no json", b""])
    assert [report.valid for report in reports] == [True, False, False, False]
    assert reports[1].code == "RejectHashMismatch"
    assert node.envelopes.consume(child)
    assert node.envelopes.consume(child).code == "RejectReplay"


def test_what_cannot_be_sealed_is_refused(node):
    for payload in (float("nan"), 2**60, "\ud800"):
        with pytest.raises(bizra.InvalidInput):
            node.envelopes.create(payload)
    with pytest.raises(TypeError):
        node.envelopes.create(object())
    for ttl in (0, -1, 3601):
        with pytest.raises(bizra.InvalidInput) as caught:
            node.envelopes.create(1, ttl)
        assert caught.value.code == "INVALID_TTL"
    for arguments in ({"audience": "me"}, {"provenance": [("pci_1", "2")]}):
        with pytest.raises(bizra.InvalidInput):
            node.envelopes.create(1, **arguments)


def test_the_log_has_pages():
    with start() as node:
        before = datetime.now(timezone.utc) - timedelta(seconds=1)
        made = [node.envelopes.create(number).id for number in range(5)]
        newest = [head["id"] for head in node.envelopes.log(2)]
        rest = [head["id"] for head in node.envelopes.log(after=newest[-1])]
        assert sorted(newest + rest) == sorted(made)
        assert len(node.envelopes.log(since=before)) == 5
        assert node.envelopes.log(since=before + timedelta(hours=1)) == []
        with pytest.raises(ValueError, match="zone"):
            node.envelopes.log(since=datetime(2026, 1, 1))
        for limit in (0, -1, 1001):
            with pytest.raises(bizra.InvalidInput):
                node.envelopes.log(limit)


def test_proposals_are_decided():
    with start() as node:
        status = node.federation.status()
        assert (status["mode"], status["connected"], status["quorum"]) == ("solo", False, 1)
        decided = node.federation.propose("pat_1", [0.25, -1.0], 0.97, "Ask before you act.")
        assert (decided["status"], decided["height"]) == ("committed", 1)
        assert node.federation.propose("pat_1", [0.25, -1.0], 0.97, "Ask before you act.") == decided
        record = node.federation.proposal(decided["proposal_id"])
        assert record["proposal"]["source_node"] == node.identity.node_id.id
        assert record["certificate"]
        assert node.federation.proposals()[0]["proposal_id"] == decided["proposal_id"]
        assert node.federation.proposal("prop_" + "0" * 64) is None
        with pytest.raises(bizra.GateRejected) as caught:
            node.federation.propose("pat_2", [1.0], 0.97, "AKIAQX7C5WTRB3DKM2LF")
        assert caught.value.code.startswith("RejectGate")
        assert caught.value.details["proposal"]["status"] == "rejected"
        for arguments, code in (
            (("pat 1", [1.0], 0.97), "INVALID_PATTERN_ID"),
            (("pat_1", [], 0.97), "INVALID_EMBEDDING"),
            (("pat_1", [float("inf")], 0.97), "INVALID_EMBEDDING"),
            (("pat_1", [1.0], 1.5), "INVALID_SCORE"),
            (("pat_1", [1.0], 0.5), "CONFIDENCE_TOO_LOW"),
        ):
            with pytest.raises(bizra.InvalidInput) as caught:
                node.federation.propose(*arguments)
            assert caught.value.code == code


def test_an_actor_that_fails_comes_back():
    with start() as node:
        for name, kind in (("identity", "error"), ("gate-chain", "panic"), ("edge", "kill")):
            node.stop_actor(name, kind)
            until(lambda name=name: actor(node, name).restarts == 1)
            until(lambda name=name: actor(node, name).state == "running")
        assert actor(node, "identity").last_failure["class"] == "error"
        assert actor(node, "identity").critical and not actor(node, "edge").critical
        assert node.identity.sign(b"a")
        with pytest.raises(bizra.NotFound) as caught:
            node.stop_actor("nobody")
        assert caught.value.code == "ACTOR_UNKNOWN"
        with pytest.raises(bizra.InvalidInput):
            node.stop_actor("identity", "tickle")
    with start(chaos={"enabled": False}) as node:
        with pytest.raises(bizra.InvalidInput) as caught:
            node.stop_actor("identity", "panic")
        assert caught.value.code == "CHAOS_DISABLED"


def test_a_call_has_its_time(node):
    with pytest.raises(bizra.Timeout) as caught:
        node.identity.sign_many([b"x" * 10_000] * 1024, timeout=1e-6)
    assert caught.value.code == "TIMEOUT"
    for wrong in (0, -1, float("nan"), float("inf"), 1e9):
        with pytest.raises(bizra.InvalidInput, match="timeout"):
            node.identity.sign(b"a", timeout=wrong)


def test_every_call_can_be_awaited(node):
    async def run():
        signature = await node.identity.asign(b"a")
        active = await node.identity.aactive()
        assert await node.identity.averify(b"a", signature, active.public_key)
        assert await node.identity.asign_many([b"a"]) == [signature]
        claims = [(b"a", signature, active.public_key)]
        assert await node.identity.averify_many(claims) == [True]
        assert (await node.identity.alist())[0] == active
        made = await node.identity.agenerate("made", activate=False)
        assert (await node.identity.aactivate(made.node_id)).active
        assert await node.gates.acheck("a", 1, 1)
        assert [bool(it) for it in await node.gates.acheck_many(["a"], 0.1, 1)] == [False]
        assert (await node.gates.aconstitution())["digest"]
        envelope = await node.envelopes.acreate({"a": 1})
        assert await node.envelopes.averify(envelope)
        assert (await node.envelopes.averify_many([envelope]))[0].valid
        assert await node.envelopes.aconsume(envelope)
        assert await node.envelopes.aget(envelope.id) == envelope
        assert (await node.envelopes.alog(1))[0]["id"]
        assert (await node.federation.astatus())["mode"] == "solo"
        assert await node.federation.apeers() == []
        proposed = await node.federation.apropose("pat_a", [1.0], 0.99)
        assert await node.federation.aproposal(proposed["proposal_id"])
        assert await node.federation.aproposals()
        assert (await node.inference.atier("why?")).recommended_tier == "Edge"
        assert (await node.inference.amodels())[0].tier == "Edge"
        assert (await node.aactors())[0].name == "identity"
        await node.astop_actor("gossip")
        with pytest.raises(bizra.NotFound):
            await node.astop_actor("nobody")

    asyncio.run(run())
