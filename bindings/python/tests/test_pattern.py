"""Patterns: what was learned is recalled by likeness."""

import threading

import pytest

import bizra


@pytest.fixture
def memory():
    return bizra.PatternMemory("test_node_001")


def test_what_was_learned_is_recalled_by_likeness(memory):
    cat = memory.learn("cats purr", [1.0, 0.0, 0.0], ["animals", "sound"])
    memory.learn("dogs bark", [0.0, 1.0, 0.0], ["animals"])
    memory.learn("rain falls", [0.0, 0.0, 1.0])
    assert cat.startswith("pat_") and len(cat) == 36
    assert (memory.pattern_count(), len(memory), repr(memory)) == (3, 3, "PatternMemory(count=3)")
    found = memory.recall([0.9, 0.1, 0.0], 5)
    assert [content for content, _, _ in found] == ["cats purr"]
    content, confidence, tags = found[0]
    assert (content, confidence, tags) == ("cats purr", 0.5, ["animals", "sound"]) == found[0]
    assert found[0].id == cat
    assert 0.99 < found[0].similarity < 1.0
    assert len(memory.recall([1.0, 1.0, 0.1], 5, min_similarity=0.0)) == 3
    assert [it.content for it in memory.recall([1.0, 1.0, 0.1], tags=["sound"])] == ["cats purr"]
    assert memory.recall([1.0, 0.0], 5) == [], "a vector of another length is near nothing"
    assert bizra.PatternMemory("other").recall([1.0, 0.0, 0.0]) == []


def test_what_is_learned_twice_is_one_pattern(memory):
    one = memory.learn("cats purr", [1.0, 0.0])
    assert memory.learn("cats purr", [1.0, 0.0]) == one
    assert memory.learn("cats do purr", [1.0, 0.001]) == one
    assert memory.pattern_count() == 1


def test_use_makes_a_pattern_surer_and_what_is_forgotten_is_gone(memory):
    one = memory.learn("cats purr", [1.0, 0.0])
    assert memory.feedback(one) == pytest.approx(0.55)
    assert memory.feedback(one, False) == pytest.approx(0.52)
    memory.forget(one)
    assert memory.recall([1.0, 0.0]) == []
    for call in (memory.forget, memory.feedback):
        with pytest.raises(LookupError) as caught:
            call(one)
        assert isinstance(caught.value, bizra.NotFound)
    with pytest.raises(bizra.InvalidInput):
        memory.forget("pat_")


def test_what_is_no_pattern_is_refused(memory):
    for wrong in (
        lambda: memory.learn("", [1.0]),
        lambda: memory.learn("x" * 40_000, [1.0]),
        lambda: memory.learn("x", []),
        lambda: memory.learn("x", [0.0, 0.0]),
        lambda: memory.learn("x", [float("nan")]),
        lambda: memory.learn("x", [1.0], [""]),
        lambda: memory.recall([1.0], 0),
        lambda: memory.recall([1.0], 101),
        lambda: memory.recall([1.0], min_similarity=2.0),
        lambda: bizra.PatternMemory("a b"),
    ):
        with pytest.raises(bizra.InvalidInput):
            wrong()
    assert memory.pattern_count() == 0


def test_threads_may_learn_and_recall_at_once(memory):
    def work(name):
        for number in range(50):
            memory.learn(f"{name} {number}", [1.0, float(name), float(number)])
            assert memory.recall([1.0, float(name), float(number)], 1)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < memory.pattern_count() <= 200
