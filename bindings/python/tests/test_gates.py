"""Gates and the constitution, without a node."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bizra
from vectors import own

# English prose of a manual, of which the scorer can say something.
PROSE = (
    "The supervisor starts each child in order and restarts whatever fails. When a child has spent "
    "its budget of restarts, the supervisor marks it as failed and tries it again slowly, so that "
    "a fault which does not pass is seen from outside. Messages that were waiting are kept, and "
    "those that had been taken are answered with an error, because nobody knows what became of them."
)
SECRET = "AKIAQX7C5WTRB3DKM2LF"


@pytest.fixture
def chain():
    return bizra.GateChain()


def test_results_are_those_of_existing_nodes(chain):
    for vector in own("gate_chain"):
        content = bytes.fromhex(vector["content"])
        results = chain.verify(content, vector["snr_score"], vector["ihsan_score"])
        assert [list(result) for result in results] == vector["results"], vector
        passed = all(passed for _, passed, _ in vector["results"])
        assert bizra.GateChain.all_passed(results) is passed
        assert chain.check(content, vector["snr_score"], vector["ihsan_score"]).passed is passed


def test_a_result_is_the_triple_it_used_to_be(chain):
    result = chain.verify(b"{}", 0.9, 0.97)[0]
    gate, passed, code = result
    assert (gate, passed, code) == ("Schema", True, "Success") == result
    assert result == ("Schema", True, "Success")
    assert hash(result) == hash(("Schema", True, "Success"))
    assert (len(result), result[0], result[-1], result[:2]) == (3, "Schema", "Success", ("Schema", True))
    with pytest.raises(IndexError):
        result[3]
    assert repr(result) == "GateResult(gate='Schema', passed=True, code='Success')"
    ihsan = chain.verify(b"{}", 0.9, 0.97)[1]
    assert (ihsan.score, ihsan.threshold, ihsan.source) == (0.97, 0.95, "claimed")
    assert ihsan.enforcement == "strict"


def test_nothing_is_no_pass():
    assert bizra.GateChain.all_passed([]) is False
    assert bizra.GateChain.all_passed([("a", True, "Success")]) is True
    assert bizra.GateChain.all_passed([("a", True, "Success"), ("b", False, "x")]) is False


def test_scores_may_be_left_out_and_then_are_missing(chain):
    results = chain.verify(b"{}")
    assert results[-1] == ("Ihsan", False, "RejectGateIhsan")
    receipt = chain.check("{}")
    assert not receipt
    assert receipt.code == "RejectGateIhsan"
    assert "missing" in receipt.reason


def test_a_claim_never_raises_a_measurement(chain):
    high = chain.check(PROSE, 1.0, 1.0, content_type="text")
    assert high.passed, high.reason
    snr = high.results[-1]
    assert (snr.gate, snr.source) == ("SNR", "measured")
    assert 0.85 <= snr.score <= 1.0
    low = chain.check(PROSE, 0.2, 1.0, content_type="text")
    assert low.code == "RejectGateSNR"
    assert low.results[-1].score == 0.2
    words = PROSE.split()
    salad = " ".join(sorted(words * 3))
    assert not chain.check(salad, 1.0, 1.0, content_type="text")


def test_harm_is_a_veto_and_is_not_repeated(chain):
    receipt = chain.check(SECRET, 1.0, 1.0, content_type="text")
    assert receipt.code == "RejectGateIhsan"
    assert "veto" in receipt.reason
    assert SECRET not in str(receipt.to_dict())
    output = chain.check(SECRET, 1.0, 1.0, content_type="text", profile="inference-output")
    assert not output
    assert output.results[-1].gate == "Harm"
    assert output.results[-1].evidence


def test_advice_refuses_nothing(chain):
    receipt = chain.check("short", 0.1, 0.1, content_type="text", profile="inference-input")
    assert receipt.passed
    assert receipt.warnings
    assert bizra.GateChain.all_passed(receipt.results)


def test_sources_support_a_text(chain):
    sentence = PROSE.split(". ")[0] + "."
    receipt = chain.check(PROSE, None, 1.0, content_type="text", sources=[PROSE])
    assert receipt.results[-1].evidence["grounding"] is not None
    assert receipt.results[-1].score > chain.check(
        PROSE, None, 1.0, content_type="text", sources=[sentence]
    ).results[-1].score
    with pytest.raises(bizra.InvalidInput, match="32 sources"):
        chain.verify(PROSE, sources=["x"] * 33)


@given(st.floats() | st.sampled_from([1.0000001, -0.0, 100.0]))
def test_a_score_is_between_0_and_1(score):
    chain = bizra.GateChain()
    is_score = 0 <= score <= 1 and str(score)[0] != "-"
    for arguments in ((score, None), (None, score)):
        if is_score:
            chain.verify(b"{}", *arguments)
        else:
            with pytest.raises(ValueError, match="score") as caught:
                chain.verify(b"{}", *arguments)
            assert caught.value.code == "INVALID_SCORE"


@given(st.binary() | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_content_is_judged(content):
    for content_type in ("json", "text"):
        results = bizra.GateChain().verify(content, 0.9, 0.97, content_type=content_type)
        assert 1 <= len(results) <= 3


def test_unknown_names_are_refused_with_those_there_are(chain):
    with pytest.raises(bizra.InvalidInput, match="inference-output") as caught:
        chain.verify(b"{}", profile="none")
    assert caught.value.code == "UNKNOWN_PROFILE"
    with pytest.raises(ValueError, match="content_type"):
        chain.verify(b"{}", content_type="xml")


def test_the_constitution_is_that_of_the_node():
    constitution = bizra.Constitution()
    assert (constitution.ihsan_threshold, constitution.snr_threshold) == (0.95, 0.85)
    assert (bizra.IHSAN_THRESHOLD, bizra.SNR_THRESHOLD) == (0.95, 0.85)
    assert (bizra.get_ihsan_threshold(), bizra.get_snr_threshold()) == (0.95, 0.85)
    assert constitution.harm_ceiling == 0.3
    assert constitution.version == "1.0.0"
    assert bizra.Constitution(constitution.text) == constitution
    assert repr(constitution) == "Constitution(version='1.0.0', ihsan=0.95, snr=0.85)"
    assert len(constitution.digest) == 64
    assert "IHSAN_001" in [rule["id"] for rule in constitution.rules]
    assert constitution == pickle.loads(pickle.dumps(constitution))
    assert hash(constitution) == hash(bizra.Constitution())


@given(st.floats())
def test_thresholds_let_pass_what_reaches_them_and_is_a_score(score):
    constitution = bizra.Constitution()
    assert constitution.check_ihsan(score) is (0.95 <= score <= 1)
    assert constitution.check_snr(score) is (0.85 <= score <= 1)


def test_thresholds_are_for_numbers():
    with pytest.raises(TypeError):
        bizra.Constitution().check_ihsan("0.97")


def test_missing_facts_are_never_compliant():
    check = bizra.Constitution().check
    assert check()["verdict"] != "compliant"
    full = check(0.97, 0.9, has_signature=True, has_provenance=True)
    assert (full["compliant"], full["verdict"]) == (True, "compliant")
    assert check(0.5, 0.9, has_signature=True)["verdict"] == "violation"
    assert all("rule" in entry for entry in full["checks"])


def test_another_constitution_is_another_judge(chain):
    from pathlib import Path

    text = (Path(__file__).parent / "../../../config/constitution.toml").read_text(encoding="utf-8")
    text = text.replace("threshold = 0.85", "threshold = 0.5").replace('"1.0.0"', '"1.1.0"')
    lenient = bizra.Constitution(text)
    assert lenient.snr_threshold == 0.5
    assert lenient != bizra.Constitution()
    assert pickle.loads(pickle.dumps(lenient)) == lenient
    assert not chain.check(b"{}", 0.6, 0.97)
    receipt = bizra.GateChain(lenient).check(b"{}", 0.6, 0.97)
    assert receipt.passed
    assert receipt.constitution_digest == lenient.digest
    assert receipt.input_hash == bizra.domain_separated_digest(b"{}")
    identity = bizra.NodeIdentity()
    envelope = bizra.PCIEnvelope.create(identity, {}, constitution=lenient)
    assert envelope.constitution == lenient.digest
    for wrong in ("", "version = 1", text.replace("0.5", "1.5")):
        with pytest.raises(bizra.InvalidInput):
            bizra.Constitution(wrong)
