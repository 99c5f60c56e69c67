"""What a node learns and recalls by meaning; it outlives the node."""

import asyncio

import pytest

import bizra
from bizra.node.patterns import Embedder, Lesson
from nodes import start, until

PLACE = Embedder("test", 1, 3)


def test_what_was_learned_is_recalled_after_a_restart(tmp_path):
    with start(tmp_path) as node:
        learned = node.patterns.learn("Ask before you delete a file.", ["style"], "laptop")
        assert learned.outcome == "new" and learned.id.startswith("pat_")
        again = node.patterns.learn("Ask before you delete a file.", ["style"], "laptop")
        assert (again.outcome, again.id) == ("known", learned.id)
        node.patterns.learn("The sky over the harbour was the colour of television.")
        assert node.patterns.stats()["patterns"] == 2
    with start(tmp_path) as node:
        found = node.patterns.recall("ask before deleting a file", min_similarity=0.1)
        assert found[0].content == "Ask before you delete a file."
        assert found[0].similarity >= found[-1].similarity
        assert (found[0].tags, found[0].source) == (["style"], "laptop")
        assert node.patterns.get(learned.id).id == learned.id
        assert [it.id for it in node.patterns.recall("file", tags=["style"], min_similarity=-1)] == [
            learned.id
        ]
        node.patterns.forget(learned.id)
        assert node.patterns.get(learned.id) is None
        with pytest.raises(bizra.NotFound):
            node.patterns.forget(learned.id)
        assert len(node.patterns.list()) == 1


def test_embeddings_are_compared_within_their_embedder():
    with start() as node:
        learned = node.patterns.learn_many(
            [
                Lesson("north", embedding=[0.0, 1.0, 0.0], embedder=PLACE),
                Lesson("east", embedding=[1.0, 0.0, 0.0], embedder=PLACE),
                Lesson("up", embedding=[0.0, 0.0, 1.0], embedder=Embedder("other", 1, 3)),
            ]
        )
        assert [it.outcome for it in learned] == ["new"] * 3
        found = node.patterns.recall(embedding=[0.1, 1.0, 0.0], embedder=PLACE, min_similarity=-1)
        assert [it.content for it in found] == ["north", "east"]
        assert found[0].embedder == PLACE and found[0].similarity > 0.9
        for wrong in (
            {"embedding": [1.0], "embedder": PLACE},
            {"embedding": [0.0] * 3, "embedder": PLACE},
            {"embedding": [1.0] * 3},
            {"text": "a", "limit": 101},
            {"text": "a", "min_similarity": 2.0},
            {},
        ):
            with pytest.raises(bizra.InvalidInput):
                node.patterns.recall(**wrong)
        with pytest.raises(bizra.InvalidInput) as caught:
            node.patterns.learn("")
        assert caught.value.code == "INVALID_CONTENT"
        with pytest.raises(bizra.InvalidInput) as caught:
            node.patterns.learn_many([Lesson("a")] * 257)
        assert caught.value.code == "BATCH_TOO_LARGE"


def test_what_others_signed_elevates_a_pattern():
    with start() as one, start() as two, start() as three:
        ids = {node.patterns.learn("Ask before you act.").id for node in (one, two, three)}
        assert len(ids) == 1
        pattern = ids.pop()
        with pytest.raises(bizra.InvalidInput) as caught:
            one.patterns.elevate(pattern)
        assert caught.value.code == "NOT_A_CANDIDATE"
        unsigned = one.patterns.feedback(pattern, False)
        assert (unsigned.negative, unsigned.signers) == (1, 0)
        last = 0
        for _ in range(5):
            for node in (one, two, three):
                # Its number is the time, which must have gone on since its last one.
                until(lambda node=node: node.patterns.sign_feedback(pattern, True).number > last)
                signed = node.patterns.sign_feedback(pattern, True)
                last = signed.number
                told = one.patterns.feedback(pattern, True, signed)
        assert told.signers == 3 and told.signed_positive >= 9
        with pytest.raises(bizra.Forbidden):
            one.patterns.feedback(pattern, False, signed)
        while told.confidence < 0.95:
            told = one.patterns.feedback(pattern, True)
        elevated = one.patterns.elevate(pattern)
        assert elevated.is_elevated and elevated.elevation["mode"] == "solo"
        assert one.patterns.recall("Ask before you act.", elevated=True)[0].id == pattern
        assert one.patterns.pin(pattern).pinned and not one.patterns.pin(pattern, False).pinned


def test_learning_can_be_awaited():
    async def run(node):
        learned = await node.patterns.alearn("Ask before you act.")
        assert (await node.patterns.alearn_many([Lesson("Then act.")]))[0].outcome == "new"
        assert await node.patterns.arecall("act", min_similarity=-1)
        assert (await node.patterns.aget(learned.id)).content == "Ask before you act."
        assert len(await node.patterns.alist()) == 2
        assert (await node.patterns.astats())["patterns"] == 2
        signed = await node.patterns.asign_feedback(learned.id, True)
        assert (await node.patterns.afeedback(learned.id, True, signed)).signers == 1
        assert (await node.patterns.apin(learned.id)).pinned
        with pytest.raises(bizra.InvalidInput):
            await node.patterns.aelevate(learned.id)
        await node.patterns.aforget(learned.id)

    with start() as node:
        asyncio.run(run(node))
