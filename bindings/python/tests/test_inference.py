"""How hard a prompt is, and which tier it goes to."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bizra
from vectors import own

LEVELS = ["Simple", "Medium", "Complex", "Expert"]


def test_estimates_are_those_of_existing_nodes():
    selector = bizra.ModelSelector()
    for vector in own("task_complexity"):
        complexity = bizra.TaskComplexity.estimate(vector["prompt"], vector["max_tokens"])
        assert complexity.level == vector["level"], vector
        assert selector.select_tier(complexity).name == vector["tier"]


def test_a_complexity_is_a_value():
    levels = [getattr(bizra.TaskComplexity, level.upper()) for level in LEVELS]
    assert [level.level for level in levels] == LEVELS
    assert sorted(reversed(levels)) == levels
    assert bizra.TaskComplexity.estimate("hi", 100) == levels[0]
    assert len({*levels, *levels}) == 4
    assert [pickle.loads(pickle.dumps(level)) for level in levels] == levels
    assert repr(levels[3]) == "TaskComplexity(level='Expert')"
    with pytest.raises(TypeError):
        bizra.TaskComplexity()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**63))
def test_any_prompt_has_a_complexity(prompt, max_tokens):
    assert bizra.TaskComplexity.estimate(prompt, max_tokens).level in LEVELS


def test_a_tier_has_two_names_in_any_case():
    for name, names in {
        "edge": ["edge", "Nano"],
        "local": ["LOCAL", "medium"],
        "pool": ["Pool", "lArGe"],
    }.items():
        for other in names:
            tier = bizra.ModelTier(other)
            assert (tier.name, str(tier), repr(tier)) == (name, name, f"ModelTier('{name}')")
            assert tier == pickle.loads(pickle.dumps(tier))
            assert hash(tier) == hash(bizra.ModelTier(name))
    with pytest.raises(ValueError, match="Tier must be 'edge', 'local', or 'pool'") as caught:
        bizra.ModelTier("cloud")
    assert caught.value.code == "UNKNOWN_TIER"


def test_a_choice_is_among_what_there_is():
    choose = bizra.ModelSelector().choose
    edge, local, pool = (bizra.ModelTier(name) for name in ("edge", "local", "pool"))
    tier, reasoning = choose("Explain it")
    assert tier == local
    assert "complex" in reasoning
    assert choose("Explain it", available=[edge])[0] == edge
    assert choose("hi", 4000)[0] == pool
    assert choose("hi", 4000, latency_sensitive=True)[0] == local
