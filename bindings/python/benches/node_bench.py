"""Speed of an embedded node beside the plain objects and beside REST, in one run.

    cd bindings/python
    maturin build --release
    python -m venv target/bench
    target/bench/bin/pip install -r benches/requirements.txt target/wheels/bizra-*.whl
    target/bench/bin/python benches/node_bench.py

The ways of one operation are measured by turns, as in bench.py. "At once" is as many tasks of one
event loop; a batch is one message, whose items the node spreads over the cores. Plain objects work
on the calling thread. Envelopes that a node makes are on disk before they are told, so those of
plain objects do less.
"""

import asyncio
import http.client
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import bizra
from bench import MESSAGE, TURN_S, TURNS, shown

#: Items of a batch, and tasks at once.
MANY = 256

CONTENT = b'{"action":"transfer","amount":42,"note":"agree"}'
PAYLOAD = {"action": "transfer", "amount": 42, "note": "as agreed on Tuesday"}


class Rest:
    """One connection to the same node, kept open."""

    def __init__(self, node):
        self._connection = http.client.HTTPConnection(node.address)
        token = (Path(node.data_dir) / "api-token").read_text().strip()
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def post(self, path, body):
        self._connection.request("POST", f"/api/v1/{path}", json.dumps(body), self._headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return answer


def at_once(loop, call):
    async def run():
        await asyncio.gather(*(call() for _ in range(MANY)))

    return lambda: loop.run_until_complete(run())


def ways(node, loop):
    """Each operation with the ways to do it, and how many a call does; ratios are to the first."""
    rest, own = Rest(node), bizra.NodeIdentity()
    text, messages = MESSAGE.decode(), [MESSAGE] * MANY
    signature, key = node.identity.sign(MESSAGE), node.identity.public_key
    claims = [(MESSAGE, signature, key)] * MANY
    chain, contents = bizra.GateChain(), [CONTENT] * MANY
    envelope = node.envelopes.create(PAYLOAD)
    travelled = envelope.to_json()
    envelopes = [travelled] * MANY
    judged = {"content_type": "json"}

    yield "sign 48 B", {
        "plain object": (lambda: own.sign(MESSAGE), 1),
        "node, one by one": (lambda: node.identity.sign(MESSAGE), 1),
        f"node, {MANY} at once": (at_once(loop, lambda: node.identity.asign(MESSAGE)), MANY),
        f"node, batches of {MANY}": (lambda: node.identity.sign_many(messages), MANY),
        "REST, one by one": (lambda: rest.post("identity/sign", {"message": text}), 1),
    }
    claim = {"message": text, "signature": signature, "public_key": key}
    yield "verify 48 B", {
        "plain object": (lambda: bizra.NodeIdentity.verify(MESSAGE, signature, key), 1),
        "node, one by one": (lambda: node.identity.verify(MESSAGE, signature, key), 1),
        f"node, batches of {MANY}": (lambda: node.identity.verify_many(claims), MANY),
        "REST, one by one": (lambda: rest.post("identity/verify", claim), 1),
    }
    asked = {"content": CONTENT.decode(), "content_type": "application/json"}
    asked |= {"snr_score": 0.9, "ihsan_score": 0.97}
    yield "gate check 48 B", {
        "plain object": (lambda: chain.check(CONTENT, 0.9, 0.97), 1),
        "node, one by one": (lambda: node.gates.check(CONTENT, 0.9, 0.97, **judged), 1),
        f"node, batches of {MANY}": (
            lambda: node.gates.check_many(contents, 0.9, 0.97, **judged),
            MANY,
        ),
        "REST, one by one": (lambda: rest.post("pci/gates/check", asked), 1),
    }
    yield "envelope create", {
        "plain object, nothing on disk": (lambda: bizra.PCIEnvelope.create(own, PAYLOAD), 1),
        "node, one by one": (lambda: node.envelopes.create(PAYLOAD), 1),
        f"node, {MANY} at once": (at_once(loop, lambda: node.envelopes.acreate(PAYLOAD)), MANY),
        "REST, one by one": (lambda: rest.post("pci/envelope/create", {"payload": PAYLOAD}), 1),
    }
    whole = envelope.to_dict()
    yield "envelope verify", {
        "plain object": (lambda: bizra.PCIEnvelope.verify_json(travelled), 1),
        "node, one by one": (lambda: node.envelopes.verify(travelled), 1),
        f"node, batches of {MANY}": (lambda: node.envelopes.verify_many(envelopes), MANY),
        "REST, one by one": (lambda: rest.post("pci/envelope/verify", whole), 1),
    }


def turn(call, rounds):
    began = time.perf_counter()
    for _ in range(rounds):
        call()
    return (time.perf_counter() - began) / rounds


def measured(ways_of_one):
    rounds = {}
    for name, (call, _) in ways_of_one.items():
        turn(call, 3)
        rounds[name] = max(1, int(TURN_S / turn(call, 3)))
    times = {name: [] for name in ways_of_one}
    for _ in range(TURNS):
        for name, (call, items) in ways_of_one.items():
            times[name].append(turn(call, rounds[name]) / items)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main():
    print(f"{os.cpu_count()} cores")
    print("| operation | way | a second | a call | to the plain object |")
    print("|---|---|---|---|---|")
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        config = {"http": {"port": 0, "drain_seconds": 0}}
        with bizra.Node(folder, config, http=True) as node:
            for operation, ways_of_one in ways(node, loop):
                found = measured(ways_of_one)
                plain = next(iter(found.values()))
                for name, seconds in found.items():
                    ratio = "" if seconds is plain else f"{plain / seconds:.2f}"
                    took = f"{seconds * 1e6:.3g} us"
                    print(f"| {operation} | {name} | {shown(seconds)} | {took} | {ratio} |", flush=True)
    loop.close()


if __name__ == "__main__":
    main()
