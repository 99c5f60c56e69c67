"""Prompts, whole and as they come; threads and tasks that wait for them."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

import bizra
from nodes import LONG, actor, start, until

SHORT = {"prompt": "The function returns", "max_tokens": 8, "temperature": 0.0}


@pytest.fixture(scope="module")
def node():
    with start() as node:
        node.inference.generate(**SHORT)
        yield node


def is_idle(node):
    return actor(node, "edge").queue_depth == 0 and actor(node, "inference-router").queue_depth == 0


def test_an_answer_has_its_proof(node):
    answer = node.inference.generate(**SHORT)
    assert str(answer) == answer.text != ""
    assert (answer.tier, answer.degraded, answer.finish_reason) == ("Edge", False, "length")
    assert 0 < answer.completion_tokens <= 8
    assert [attempt.outcome for attempt in answer.attempts] == ["ok"]
    assert answer.envelope.verify() and node.envelopes.verify(answer.envelope)
    assert answer.envelope.sender == node.identity.node_id
    assert node.envelopes.get(answer.envelope.id) == answer.envelope
    assert node.inference.generate(**SHORT).text == answer.text
    # No model server is there, and the answer says so.
    lower = node.inference.generate(**SHORT, tier="local")
    assert (lower.tier, lower.requested_tier, lower.degraded) == ("Edge", "Local", True)
    stopped = node.inference.generate(**SHORT, stop=answer.text[2:5])
    assert stopped.text == answer.text[:2] and stopped.finish_reason == "stop"


def test_models_and_tiers_are_told(node):
    models = node.inference.models()
    assert models[0].tier == "Edge" and models[0].available
    by_name = node.inference.generate(**SHORT, model=models[0].name)
    assert by_name.model == models[0].name
    assert node.inference.tier("why?").available == ["Edge"]
    assert node.inference.tier("Explain `x`." + " a" * 300, max_tokens=3000).complexity == "expert"


@pytest.mark.parametrize(
    ("arguments", "argument", "code"),
    [
        ({"prompt": " "}, "prompt", "EMPTY_PROMPT"),
        ({"prompt": "a" * 65_537}, "prompt", "PROMPT_TOO_LONG"),
        ({"max_tokens": 0}, "max_tokens", "OUT_OF_RANGE"),
        ({"max_tokens": -1}, "max_tokens", "OUT_OF_RANGE"),
        ({"max_tokens": 2**70}, "max_tokens", "OUT_OF_RANGE"),
        ({"temperature": 2.1}, "temperature", "OUT_OF_RANGE"),
        ({"top_p": 0.0}, "top_p", "OUT_OF_RANGE"),
        ({"seed": 2**53}, "seed", "OUT_OF_RANGE"),
        ({"stop": [""]}, "stop", "OUT_OF_RANGE"),
        ({"stop": ["x"] * 9}, "stop", "OUT_OF_RANGE"),
        ({"tier": "cloud"}, "tier", "UNKNOWN_TIER"),
    ],
)
def test_what_is_out_of_range_is_refused(node, arguments, argument, code):
    for ask in (node.inference.generate, node.inference.stream):
        with pytest.raises(bizra.InvalidInput) as caught:
            ask(**{**SHORT, **arguments})
        assert (caught.value.code, caught.value.details) == (code, {"argument": argument})


def test_what_cannot_be_answered_says_why(node):
    with pytest.raises(bizra.NotFound) as caught:
        node.inference.generate(**SHORT, model="none")
    assert caught.value.code == "UNKNOWN_MODEL" and caught.value.details["available"]
    with pytest.raises(bizra.Timeout):
        node.inference.generate(**LONG, timeout=0.05)
    until(lambda: is_idle(node))


def test_a_refusal_by_the_gates_is_an_exception_with_its_receipt(tmp_path):
    built_in = Path(__file__).parents[3] / "config" / "constitution.toml"
    text, lenient = built_in.read_text(), 'gates = { schema = "strict", harm = "advisory"'
    assert lenient in text
    strict = tmp_path / "constitution.toml"
    strict.write_text(text.replace(lenient, lenient.replace("advisory", "strict"), 1))
    with start(gates={"constitution": str(strict)}) as node:
        harmful = "The key is AKIAQX7C5WTRB3DKM2LF, is it not?"
        for ask in (node.inference.generate, lambda prompt: list(node.inference.stream(prompt))):
            with pytest.raises(bizra.GateRejected) as caught:
                ask(harmful)
            assert caught.value.code.startswith("RejectGate")
            assert caught.value.details["receipt"]["passed"] is False
            assert "AKIA" not in str(caught.value.details)
        assert node.inference.generate(**SHORT).text


def test_a_text_comes_in_pieces(node):
    whole = node.inference.generate(**SHORT)
    stream = node.inference.stream(**SHORT)
    pieces = list(stream)
    assert len(pieces) > 1 and all(pieces)
    assert "".join(pieces) == whole.text == stream.answer.text
    assert stream.answer.envelope.verify()
    assert list(stream) == []

    async def run():
        stream = node.inference.stream(**SHORT)
        assert stream.answer is None
        pieces = [piece async for piece in stream]
        assert "".join(pieces) == whole.text == stream.answer.text
        assert [piece async for piece in stream] == []

    asyncio.run(run())


def test_a_stream_that_fails_says_why(node):
    stream = node.inference.stream(**SHORT, model="none")
    with pytest.raises(bizra.NotFound):
        next(stream)
    with pytest.raises(bizra.BizraError):
        next(stream)


def test_a_stream_that_nobody_reads_ends(node):
    for leave in (lambda stream: stream.close(), lambda stream: None):
        stream = node.inference.stream(**LONG)
        assert next(stream)
        leave(stream)
        del stream
        until(lambda: is_idle(node))
    with node.inference.stream(**LONG) as stream:
        for _ in stream:
            break
    until(lambda: is_idle(node))

    async def run():
        async with node.inference.stream(**LONG) as stream:
            async for _ in stream:
                break

    asyncio.run(run())
    until(lambda: is_idle(node))


def test_a_task_that_is_cancelled_ends_its_work(node):
    async def run():
        began = time.monotonic()
        task = asyncio.ensure_future(node.inference.agenerate(**LONG))
        while actor(node, "edge").queue_depth == 0:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(node.inference.agenerate(**LONG), 0.05)
        stream = node.inference.stream(**LONG)
        await stream.__anext__()
        waiting = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        return time.monotonic() - began

    asyncio.run(run())
    until(lambda: is_idle(node))
    assert node.inference.generate(**SHORT).text


def test_other_threads_go_on_meanwhile(node):
    ticks, is_over = [], threading.Event()

    def tick():
        while not is_over.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        began = time.monotonic()
        answer = node.inference.generate(**LONG)
        ended = time.monotonic()
        pieces = list(node.inference.stream(**LONG))
    finally:
        is_over.set()
        ticking.join()
    assert answer.completion_tokens > 50 and pieces
    inside = [at for at in ticks if began <= at <= ended]
    # A call that held the GIL would leave none; a machine under load leaves fewer than it should.
    assert len(inside) > (ended - began) / 0.02, (len(inside), ended - began)


def test_an_event_loop_goes_on_meanwhile(node):
    async def run():
        turns = 0
        task = asyncio.ensure_future(node.inference.agenerate(**LONG))
        began = time.monotonic()
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > (time.monotonic() - began) / 0.02
        assert (await task).text

    asyncio.run(run())


def test_more_prompts_than_a_backend_takes_wait_their_turn(node):
    async def run():
        asked = [node.inference.agenerate("Count", max_tokens=1) for _ in range(150)]
        return await asyncio.gather(*asked)

    answers = asyncio.run(run())
    assert len({answer.request_id for answer in answers}) == 150
