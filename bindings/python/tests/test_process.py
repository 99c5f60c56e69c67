"""What calls cost the process they are made in: other threads, and memory."""

import gc
import sys
import threading
import time

import pytest

import bizra

IDENTITY = bizra.NodeIdentity.from_secret(bytes(range(1, 33)))
CHAIN = bizra.GateChain()
BIG = bytes(64 * 2**20)
JSON = b'{"text":"' + b"a word or two, " * 50_000 + b'"}'
ENVELOPE = bizra.PCIEnvelope.create(IDENTITY, JSON)
TEXT = ENVELOPE.to_json().encode()
SIGNATURE = IDENTITY.sign(BIG)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bizra.domain_separated_digest(BIG),
        lambda: IDENTITY.sign(BIG),
        lambda: bizra.NodeIdentity.verify(BIG, SIGNATURE, IDENTITY.public_key),
        lambda: bizra.PCIEnvelope.create(IDENTITY, JSON),
        lambda: bizra.PCIEnvelope.from_json(TEXT),
        lambda: bizra.PCIEnvelope.verify_json(TEXT),
        lambda: CHAIN.check(JSON, 0.9, 0.97),
    ],
    ids=["digest", "sign", "verify", "create", "read", "verify envelope", "gates"],
)
def test_other_threads_go_on_during_a_call(call):
    # Nobody is interrupted here, so this thread gets on only where a call lets go of the GIL. On a busy
    # machine that may take several calls; were the GIL held, no number of them would do.
    went_on = []
    is_over = []

    def work():
        latest = time.monotonic() + 60
        while not went_on and time.monotonic() < latest:
            call()
        is_over.append(True)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        if not is_over:
            went_on.append(True)
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert went_on


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def every_kind_of_call():
    digest = bizra.domain_separated_digest(b"message")
    assert bizra.NodeId(digest[:32]).id == digest[:32]
    assert not bizra.GateChain.all_passed(CHAIN.verify(b'{"a": 1}', 0.5, 0.97))
    assert bizra.TaskComplexity.estimate("Explain it").level == "Complex"
    assert not bizra.PCIEnvelope.verify_json("{}")
    for wrong in (lambda: bizra.NodeId("?"), lambda: CHAIN.verify(b"{}", 7.0)):
        try:
            wrong()
        except bizra.InvalidInput as error:
            assert error.code


def some_more():
    assert bizra.NodeIdentity.verify(b"x", IDENTITY.sign(b"x"), IDENTITY.public_key)
    assert bizra.PCIEnvelope.create(IDENTITY, {"a": [1, 2]}).verify()
    assert CHAIN.check(b"{}", 0.9, 0.97).to_dict()["passed"]


def test_memory_is_steady_over_a_hundred_thousand_calls():
    def calls(rounds):
        for number in range(rounds):
            every_kind_of_call()
            if number % 20 == 0:
                some_more()

    calls(1_000)
    gc.collect()
    before = resident_bytes()
    # Seven calls each.
    calls(15_000)
    gc.collect()
    # A byte lost in each call of one kind would be 15 KB; an object, a megabyte or more.
    assert resident_bytes() - before < 2**20
