"""How people like to be answered, as a node learns it; it outlives the node."""

import asyncio

import pytest

import bizra
from nodes import start


def test_preferences_become_active_and_are_applied(tmp_path):
    with start(tmp_path) as node:
        first = node.preferences.observe("ann", "style", "formal")
        assert (first.confidence, first.active, first.observations) == (0.5, False, 1)
        for _ in range(5):
            last = node.preferences.observe("ann", "style", "formal")
        assert last.active and last.observations == 6
        node.preferences.observe("bob", "custom", "rust", "favourite_tool")
    with start(tmp_path) as node:
        assert [it.value for it in node.preferences.list("ann")] == ["formal"]
        assert [it["subject"] for it in node.preferences.subjects()] == ["ann", "bob"]
        assert [it["subject"] for it in node.preferences.subjects(after="ann")] == ["bob"]
        applied = node.preferences.apply("ann", "You are a careful assistant.")
        assert applied.startswith("You are a careful assistant.\n\n") and "formal" in applied
        assert node.preferences.apply("nobody") is None
        assert node.inference.generate("The function", system=applied, max_tokens=2).text
        assert node.preferences.forget("bob", "custom", "favourite_tool") == 1
        assert node.preferences.forget("ann") == 1
        assert node.preferences.subjects() == []
        for arguments in (
            ("ann", "mood", "formal"),
            ("ann", "style", "no such style"),
            ("ann!", "style", "formal"),
            ("ann", "custom", "rust"),
        ):
            with pytest.raises(bizra.InvalidInput):
                node.preferences.observe(*arguments)


def test_preferences_can_be_awaited():
    async def run(node):
        assert (await node.preferences.aobserve("ann", "verbosity", "brief")).type == "verbosity"
        assert await node.preferences.alist("ann") and await node.preferences.asubjects()
        assert await node.preferences.aapply("ann", "a") == "a"
        assert await node.preferences.aforget("ann") == 1

    with start() as node:
        asyncio.run(run(node))
