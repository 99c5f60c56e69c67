"""BLAKE3 in plain Python: the hash of the specification's section 2, 32 bytes of output, no key.

It is what is left where neither the native wheel nor the ``blake3`` package is installed: the same
digest, some thousand times slower. It follows the paper "BLAKE3: one function, fast everywhere" and
is held to the official test vectors.
"""

from __future__ import annotations

import struct

__all__ = ["BYTES_MAX", "blake3_digest"]

#: Bytes of a message. A MiB takes a few seconds, during which no other thread runs long.
BYTES_MAX = 8 << 20

_IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_BLOCK_BYTES, _CHUNK_BYTES = 64, 1024
_MASK = 0xFFFFFFFF


def _schedule() -> tuple[tuple[int, ...], ...]:
    """Which word of the block is used where, in each of the seven rounds."""
    rounds = [tuple(range(16))]
    for _ in range(6):
        rounds.append(tuple(rounds[-1][index] for index in _PERMUTATION))
    return tuple(rounds)


_SCHEDULE = _schedule()
# The four columns, then the four diagonals, of the state.
_LANES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip

_Words = tuple[int, ...]


def _compress(value: _Words, block: _Words, counter: int, length: int, flags: int) -> _Words:
    """One compression; the first eight words of its output, which are all that is needed here."""
    v = [
        *value, *_IV[:4], counter & _MASK, counter >> 32, length, flags,
    ]  # fmt: skip
    for order in _SCHEDULE:
        at = 0
        for a, b, c, d in _LANES:
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + block[order[at]]) & _MASK
            vd ^= va
            vd = (vd >> 16) | ((vd << 16) & _MASK)
            vc = (vc + vd) & _MASK
            vb ^= vc
            vb = (vb >> 12) | ((vb << 20) & _MASK)
            va = (va + vb + block[order[at + 1]]) & _MASK
            vd ^= va
            vd = (vd >> 8) | ((vd << 24) & _MASK)
            vc = (vc + vd) & _MASK
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7) | ((vb << 25) & _MASK), vc, vd
            at += 2
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _chunk(piece: bytes, counter: int, root: int) -> _Words:
    """The chaining value of one chunk; the hash itself if the chunk is the whole message."""
    value: _Words = _IV
    last = max(0, (len(piece) - 1) // _BLOCK_BYTES)
    for number in range(last + 1):
        block = piece[number * _BLOCK_BYTES : (number + 1) * _BLOCK_BYTES]
        flags = _CHUNK_START if number == 0 else 0
        if number == last:
            flags |= _CHUNK_END | root
        words = struct.unpack("<16I", block.ljust(_BLOCK_BYTES, b"\0"))
        value = _compress(value, words, counter, len(block), flags)
    return value


def _parent(left: _Words, right: _Words, root: int) -> _Words:
    return _compress(_IV, left + right, 0, _BLOCK_BYTES, _PARENT | root)


def blake3_digest(message: bytes) -> bytes:
    """The 32 bytes of BLAKE3 over ``message``.

    Raises:
        ValueError: The message has more than :data:`BYTES_MAX` bytes.
    """
    if len(message) > BYTES_MAX:
        raise ValueError(
            f"{len(message)} bytes are too many for the hash in plain Python, which takes "
            f"{BYTES_MAX}; install the blake3 package"
        )
    count = max(1, -(-len(message) // _CHUNK_BYTES))
    if count == 1:
        return struct.pack("<8I", *_chunk(message, 0, _ROOT))
    # Values of whole subtrees, the largest first; one for each bit of the number of chunks done.
    stack: list[_Words] = []
    for counter in range(count - 1):
        value = _chunk(message[counter * _CHUNK_BYTES : (counter + 1) * _CHUNK_BYTES], counter, 0)
        done = counter + 1
        while done & 1 == 0:
            value = _parent(stack.pop(), value, 0)
            done >>= 1
        stack.append(value)
    value = _chunk(message[(count - 1) * _CHUNK_BYTES :], count - 1, 0)
    while len(stack) > 1:
        value = _parent(stack.pop(), value, 0)
    return struct.pack("<8I", *_parent(stack.pop(), value, _ROOT))
