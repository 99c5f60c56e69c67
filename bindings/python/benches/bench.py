"""Speed of the module beside the packages that people use for the same, in one run.

    cd bindings/python
    maturin build --release
    python -m venv target/bench
    target/bench/bin/pip install -r benches/requirements.txt target/wheels/bizra-*.whl
    cargo build --release --example rust_calls
    target/bench/bin/python benches/bench.py

The ways of one operation are measured by turns, some milliseconds each, so that whatever else the
machine does meets all of them; a figure is the median of its turns. "Rust" is the same call of the
domain in a program without Python.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import blake3
import nacl.signing
from cryptography.hazmat.primitives.asymmetric import ed25519

import bizra

TURNS = 31
TURN_S = 0.02

SECRET = bytes(range(1, 33))
MESSAGE = b"m" * 48
PAYLOAD = '{"action":"transfer","amount":42,"note":"as agreed on Tuesday"}   '
CONTENT = b'{"action":"transfer","amount":42,"note":"agree"}'


def ways():
    """Each operation with the ways to do it; the first is what ratios are of."""
    identity = bizra.NodeIdentity.from_secret(SECRET)
    signature = identity.sign(MESSAGE)
    key = identity.public_key
    openssl = ed25519.Ed25519PrivateKey.from_private_bytes(SECRET)
    openssl_signature = openssl.sign(MESSAGE)
    openssl_key = openssl.public_key()
    sodium = nacl.signing.SigningKey(SECRET)
    sodium_signature = sodium.sign(MESSAGE).signature
    sodium_key = sodium.verify_key
    chain = bizra.GateChain()
    envelope = bizra.PCIEnvelope.create(identity, PAYLOAD)
    assert chain.check(CONTENT, 0.9, 0.97), chain.check(CONTENT, 0.9, 0.97)

    yield "sign 48 B", {
        "bizra": lambda: identity.sign(MESSAGE),
        "cryptography": lambda: openssl.sign(MESSAGE),
        "PyNaCl": lambda: sodium.sign(MESSAGE),
    }
    yield "verify 48 B", {
        "bizra": lambda: bizra.NodeIdentity.verify(MESSAGE, signature, key),
        "cryptography": lambda: openssl_key.verify(openssl_signature, MESSAGE),
        "PyNaCl": lambda: sodium_key.verify(MESSAGE, sodium_signature),
    }
    for size, name in ((13, "13 B"), (1024, "1 KiB"), (2**20, "1 MiB")):
        data = bytes(size)
        yield f"digest {name}", {
            "bizra": lambda data=data: bizra.domain_separated_digest(data),
            "blake3": lambda data=data: blake3.blake3(data).hexdigest(),
        }
    yield "envelope create and verify", {
        "bizra": lambda: bizra.PCIEnvelope.create(identity, PAYLOAD).verify(),
        "cryptography, sign and verify": lambda: openssl_key.verify(openssl.sign(MESSAGE), MESSAGE),
        "PyNaCl, sign and verify": lambda: sodium_key.verify(
            MESSAGE, sodium.sign(MESSAGE).signature
        ),
    }
    yield "envelope create", {"bizra": lambda: bizra.PCIEnvelope.create(identity, PAYLOAD)}
    yield "envelope verify", {"bizra": envelope.verify}
    yield "gate check 48 B", {
        "bizra": lambda: chain.verify(CONTENT, 0.9, 0.97),
        "json.loads and two comparisons": lambda: json.loads(CONTENT) and 0.9 >= 0.85 and 0.97 >= 0.95,
    }


def turn(call, rounds):
    began = time.perf_counter()
    for _ in range(rounds):
        call()
    return (time.perf_counter() - began) / rounds


def measured(ways_of_one):
    rounds = {}
    for name, call in ways_of_one.items():
        turn(call, 3)
        rounds[name] = max(1, int(TURN_S / turn(call, 3)))
    times = {name: [] for name in ways_of_one}
    for _ in range(TURNS):
        for name, call in ways_of_one.items():
            times[name].append(turn(call, rounds[name]))
    return {name: statistics.median(taken) for name, taken in times.items()}


def rust_calls():
    """Nanoseconds of the same calls in Rust, if the example was built."""
    program = Path(__file__).parent.parent / "target/release/examples/rust_calls"
    if not program.exists():
        print(f"{program} is not built, so the rows of Rust are missing", file=sys.stderr)
        return {}
    best: dict = {}
    # Not by turns with the others, so the better of two runs.
    for _ in range(2):
        said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        for name, ns in (line.rsplit(" ", 1) for line in said.splitlines()):
            best[name] = min(int(ns) / 1e9, best.get(name, 1.0))
    return best


def shown(seconds):
    per_second = 1 / seconds
    for unit, size in (("M", 1e6), ("K", 1e3)):
        if per_second >= size:
            return f"{per_second / size:.2f} {unit}/s"
    return f"{per_second:.1f} /s"


def main():
    print("| operation | way | a second | a call | bizra to it |")
    print("|---|---|---|---|---|")
    rust = rust_calls()
    for operation, ways_of_one in ways():
        found = measured(ways_of_one)
        if operation in rust:
            found["Rust"] = rust[operation]
        ours = found["bizra"]
        for name, seconds in found.items():
            ratio = "" if name == "bizra" else f"{seconds / ours:.2f}"
            took = f"{seconds * 1e6:.3g} us"
            print(f"| {operation} | {name} | {shown(seconds)} | {took} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
