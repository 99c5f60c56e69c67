"""The experience ledger: a chain that verifies, whatever was let go."""

import threading

import pytest

import bizra

GENESIS_PAIR = [
    ("ctx one", "ab" * 32, 3, [("inference", "d", True, 5)], 0.9, 0.96, True),
    ("\u0633\u064a\u0627\u0642", "", 0, [], 0.5, 0.123456789, False),
]


def commit(ledger, context="something", snr=0.9, **more):
    return ledger.commit(context, "", 0, [], snr, 0.96, True, **more)


def test_hashes_are_those_of_existing_nodes():
    ledger = bizra.ExperienceLedger()
    assert (ledger.chain_head, ledger.next_sequence, len(ledger)) == ("genesis", 0, 0)
    assert ledger, "an empty ledger is a ledger"
    hashes = [
        ledger.commit(*episode, timestamp_secs=1_700_000_000 + number)
        for number, episode in enumerate(GENESIS_PAIR)
    ]
    assert hashes == [
        "a33d9906a643ab462e66140632b59f7adab9b5a6ecec39d933e078de98595609",
        "037dcc2d67db40d22da89da7fafc5ca30bd58ac7a170f6f2d139ad19cad99fcd",
    ]
    assert ledger.chain_head == "ccdc97328ef1b4a3779e05a159dda4a4c97d43339f41de260b6497d1c93b9a54"
    assert ledger.verify_chain_integrity()
    assert repr(ledger) == "ExperienceLedger(episodes=2, chain_head='ccdc9732')"


def test_what_was_committed_is_found():
    ledger = bizra.ExperienceLedger()
    commit(ledger, "the cat sat on the mat", context_embedding=[1.0, 0.0], response_summary="cat")
    commit(ledger, "a dog in the fog", context_embedding=[0.0, 1.0])
    first, second = ledger.retrieve("cat mat", 2)
    assert (first["context"], first["response_summary"]) == ("the cat sat on the mat", "cat")
    assert "response_summary" not in second
    assert set(second) == {
        "sequence", "timestamp_secs", "context", "graph_hash", "graph_node_count",
        "snr_score", "ihsan_score", "snr_ok", "episode_hash", "chain_hash",
    }
    assert ledger.retrieve("cat", 1, [0.0, 1.0])[0]["context"] == "a dog in the fog"
    assert ledger.retrieve("anything")[0]["sequence"] in (0, 1)


def test_a_full_ledger_still_verifies():
    ledger = bizra.ExperienceLedger()
    for number in range(10_002):
        commit(ledger, f"number {number}", snr=(number % 7) / 7)
    assert ledger.distillation_count == 1
    assert len(ledger) == 7_502
    assert ledger.next_sequence == 10_002
    assert ledger.verify_chain_integrity()
    assert ledger.retrieve("number 10001", 1)[0]["sequence"] == 10_001


def test_what_is_no_episode_is_refused():
    ledger = bizra.ExperienceLedger()
    for wrong in (
        lambda: commit(ledger, snr=1.5),
        lambda: commit(ledger, "x" * 70_000),
        lambda: commit(ledger, context_embedding=[]),
        lambda: commit(ledger, context_embedding=[float("nan")]),
        lambda: ledger.retrieve("x", 0),
        lambda: ledger.retrieve("x", 1, [0.0]),
    ):
        with pytest.raises(bizra.InvalidInput):
            wrong()
    assert ledger.next_sequence == 0


def test_threads_that_commit_at_once_make_one_chain():
    ledger = bizra.ExperienceLedger()
    threads = [
        threading.Thread(target=lambda: [commit(ledger) for _ in range(200)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.next_sequence == 1600
    assert ledger.verify_chain_integrity()
