"""Threads and tasks against one node whose actors fail at random: no answer is lost or wrong."""

import asyncio
import contextlib
import random
import threading

import bizra
from nodes import start

THREADS = 32
TASKS = 1000

#: Those that answer here, and those that they ask.
ACTORS = ("identity", "gate-chain", "envelope", "inference-router", "gossip", "consensus")

#: Ways to fail that show at once; freezing shows only at a heartbeat.
KINDS = ("error", "stop", "kill")


@contextlib.contextmanager
def failing(node, seed=20_260_131):
    """Makes actors fail at random, and says how often."""
    chance, is_over, failures = random.Random(seed), threading.Event(), []

    def run():
        while not is_over.wait(0.01):
            # One that is just coming back has nothing to fail with.
            with contextlib.suppress(bizra.Unavailable):
                node.stop_actor(chance.choice(ACTORS), chance.choice(KINDS))
                failures.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        is_over.set()
        thread.join()


def restarts(node):
    return sum(info.restarts for top in node.actors() for info in (top, *top.children))


def test_threads_lose_nothing_while_actors_fail():
    wrong = []

    def work(node, key, number):
        try:
            for turn in range(12):
                message = f"{number}/{turn}".encode()
                signature = node.identity.sign(message, timeout=60)
                assert bizra.NodeIdentity.verify(message, signature, key)
                claims = [(message, signature, key), (b"other", signature, key)]
                assert node.identity.verify_many(claims, timeout=60) == [True, False]
                snr = turn / 11
                receipt = node.gates.check("claimed", snr, 1.0, timeout=60)
                assert receipt.passed == (snr >= 0.85), (snr, receipt)
                if turn % 4 == 0:
                    envelope = node.envelopes.create({"by": number, "turn": turn}, timeout=60)
                    assert envelope.payload and envelope.verify()
                    assert node.envelopes.get(envelope.id, timeout=60) == envelope
                    assert node.envelopes.verify(envelope, timeout=60)
                    assert node.inference.tier("why?", timeout=60).complexity == "medium"
        except BaseException as error:
            wrong.append((number, repr(error)))

    with start() as node:
        key = node.identity.public_key
        threads = [threading.Thread(target=work, args=(node, key, at)) for at in range(THREADS)]
        with failing(node) as failures:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []
        assert failures and restarts(node) > 0
        assert len(node.envelopes.log(1000)) == THREADS * 3


def test_tasks_lose_nothing_while_actors_fail():
    async def work(node, key, number):
        message = str(number).encode()
        signature = await node.identity.asign(message, timeout=60)
        assert bizra.NodeIdentity.verify(message, signature, key)
        assert await node.identity.averify(message, signature, key, timeout=60)
        snr = number / TASKS
        receipt = await node.gates.acheck(f"claimed {number}", snr, 1.0, timeout=60)
        assert receipt.passed == (snr >= 0.85)
        envelope = await node.envelopes.acreate(number, timeout=60)
        assert envelope.verify()
        return envelope.id

    async def run(node, key):
        return await asyncio.gather(*(work(node, key, number) for number in range(TASKS)))

    with start() as node:
        key = node.identity.public_key
        with failing(node) as failures:
            ids = asyncio.run(run(node, key))
        assert failures and restarts(node) > 0
        # Each was made once, and is there.
        assert len(set(ids)) == TASKS
        assert {head["id"] for head in node.envelopes.log(1000)} == set(ids)


def test_tasks_that_are_cancelled_at_random_leave_nothing_behind():
    async def run(node):
        chance = random.Random(7)
        tasks = []
        for number in range(TASKS):
            tasks.append(asyncio.ensure_future(node.identity.asign(str(number).encode())))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if number % 100 == 0:
                await asyncio.sleep(0.001)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if not isinstance(outcome, asyncio.CancelledError):
                assert bizra.NodeIdentity.verify(str(number).encode(), outcome, key)
        return sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)

    with start() as node:
        key = node.identity.public_key
        assert asyncio.run(run(node)) > 0
        assert node.identity.sign(b"and on it goes")
        assert all(info.queue_depth <= 1 for info in node.actors())
