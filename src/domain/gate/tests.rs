//! The gates, attacked.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::constitution::DEFAULT_TOML;
use crate::domain::digest::Digest;

fn score(value: f64) -> Score {
    Score::try_from(value).unwrap()
}

fn input(content: impl Into<Bytes>, ihsan: Option<f64>, snr: Option<f64>) -> GateInput {
    GateInput {
        content: content.into(),
        content_type: ContentType::Text,
        snr_claim: snr.map(score),
        ihsan_claim: ihsan.map(score),
    }
}

fn json_input(content: impl Into<Bytes>) -> GateInput {
    GateInput { content_type: ContentType::Json, ..input(content, Some(1.0), Some(1.0)) }
}

fn check(input: GateInput) -> Receipt {
    run(&Constitution::default(), Profile::Check, input)
}

#[test]
fn good_claims_pass_and_are_called_claims() {
    let receipt = check(input("text", Some(0.97), Some(0.9)));
    assert!(receipt.passed());
    assert_eq!(receipt.code(), None);
    assert_eq!(receipt.reason(), None);
    let sources: Vec<_> = receipt.verdicts().iter().map(|verdict| verdict.source).collect();
    assert_eq!(sources, [Source::Measured, Source::Claimed, Source::Claimed]);
}

#[test]
fn a_score_at_the_threshold_passes_and_one_below_does_not() {
    assert!(check(input("text", Some(0.95), Some(0.85))).passed());
    let low = check(input("text", Some(0.95), Some(0.85 - f64::EPSILON)));
    assert_eq!(low.code(), Some(RejectCode::RejectGateSNR));
    let low = check(input("text", Some(0.95 - f64::EPSILON), Some(1.0)));
    assert_eq!(low.code(), Some(RejectCode::RejectGateIhsan));
    assert!(low.reason().unwrap().ends_with("is below 0.95"));
}

#[test]
fn a_missing_score_fails_closed_and_is_named() {
    let receipt = check(input("text", None, Some(1.0)));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan));
    assert_eq!(receipt.reason().unwrap(), "the ihsan score is missing");
    let receipt = check(input("text", Some(1.0), None));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateSNR));
    assert_eq!(receipt.reason().unwrap(), "the snr score is missing");
    assert_eq!(receipt.verdicts()[2].source, Source::Unavailable);
}

#[test]
fn the_run_ends_at_the_first_strict_failure() {
    let receipt = check(input(&b"\xff\xfe"[..], Some(0.0), Some(0.0)));
    assert_eq!(receipt.verdicts().len(), 1);
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateSchema));
    let receipt = check(input("text", Some(0.0), Some(0.0)));
    assert_eq!(receipt.verdicts().len(), 2);
}

#[test]
fn an_advisory_gate_is_recorded_and_refuses_nothing() {
    for profile in [Profile::InferenceInput, Profile::InferenceOutput] {
        let constitution = Constitution::default();
        let absent = run(&constitution, profile, input("text", None, None));
        assert!(absent.passed());
        assert_eq!(absent.verdicts().len(), 3);
        for verdict in &absent.verdicts()[1..] {
            assert_eq!(verdict.source, Source::Unavailable);
            assert!(!verdict.passed, "what was not judged has not passed");
            assert_eq!(verdict.code, None);
        }
        let low = run(&constitution, profile, input("text", Some(0.1), Some(0.1)));
        assert!(low.passed());
        assert_eq!(low.verdicts()[1].code, Some(RejectCode::RejectGateIhsan));
        let unreadable = run(&constitution, profile, input(&b"\x80"[..], Some(1.0), Some(1.0)));
        assert!(!unreadable.passed());
    }
}

#[test]
fn the_constitution_decides_what_is_strict_and_what_is_enough() {
    let strict = DEFAULT_TOML.replace("ihsan = \"advisory\"", "ihsan = \"strict\"");
    let strict = Constitution::parse("x", &strict).unwrap();
    let receipt = run(&strict, Profile::InferenceOutput, input("text", None, None));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan));
    let tight = DEFAULT_TOML.replace("threshold = 0.85", "threshold = 0.99");
    let tight = Constitution::parse("x", &tight).unwrap();
    let receipt = run(&tight, Profile::Check, input("text", Some(1.0), Some(0.98)));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateSNR));
    assert_eq!(receipt.constitution_digest(), tight.digest());
}

#[test]
fn a_run_without_verdicts_is_not_a_pass() {
    let open = Receipt::open(Profile::Check, Digest::from([0; 32]), Bytes::new());
    assert!(!open.passed());
    let late = RejectCode::RejectTimeout;
    let refusal =
        Receipt::refusal(Profile::Check, Digest::from([0; 32]), Bytes::new(), late, "no time");
    assert!(!refusal.passed());
    assert_eq!(refusal.reason().unwrap(), "no time");
    assert_eq!(refusal.to_json()["passed"], false);
}

#[test]
fn text_is_any_utf8_and_json_is_strict() {
    for text in ["", " ", "a", "\u{645}\u{631}\u{62d}\u{628}\u{627}", "{not json"] {
        assert!(check(input(text, Some(1.0), Some(1.0))).passed(), "{text}");
    }
    assert!(check(json_input("{\"x\": [1, 2.5, null]}")).passed());
    let deep = "[".repeat(100_000);
    let cases: [&[u8]; 7] =
        [b"", b"{not json", b"{\"a\":1} tail", b"\"\xff\"", b"[NaN]", b"[1e999]", deep.as_bytes()];
    for content in cases {
        let receipt = check(json_input(content.to_vec()));
        assert_eq!(receipt.code(), Some(RejectCode::RejectGateSchema), "{content:.40?}");
    }
}

#[test]
fn json_that_a_reader_would_change_is_refused() {
    for content in ["{\"a\":1,\"a\":2}", "[9007199254740993]", "\"\\ud800\""] {
        assert!(!check(json_input(content)).passed(), "{content}");
    }
}

#[test]
fn content_over_a_mebibyte_is_refused() {
    let content = vec![b'a'; CONTENT_BYTES_MAX];
    assert!(check(input(content.clone(), Some(1.0), Some(1.0))).passed());
    let over = [content, vec![b'a']].concat();
    assert_eq!(check(input(over, Some(1.0), Some(1.0))).code(), Some(RejectCode::RejectGateSchema));
}

#[test]
fn times_are_noted_only_when_asked_for_and_are_never_signed() {
    let constitution = Constitution::default();
    let content = || input("text", Some(1.0), Some(1.0));
    let plain = run(&constitution, Profile::Check, content());
    assert_eq!(plain.duration(0), None);
    let mut now = Duration::ZERO;
    let timed = run_timed(&constitution, Profile::Check, content(), || {
        now += Duration::from_micros(5);
        now
    });
    assert_eq!(timed.duration(2), Some(Duration::from_micros(5)));
    assert_eq!(timed.duration(3), None);
    assert_eq!(timed, plain);
    assert_eq!(timed.to_json(), plain.to_json());
}

#[test]
fn the_signed_form_names_content_constitution_and_every_verdict() {
    let receipt = check(input("hello bizra", Some(0.97), Some(0.5)));
    let json = receipt.to_json();
    assert_eq!(
        json["input_hash"],
        "c05bf844556babc164032a2144a8453f361569235e65455ffd0f81823fb6e126"
    );
    assert_eq!(json["constitution"], Constitution::default().digest().to_hex());
    assert_eq!(json["profile"], "check");
    assert_eq!(json["code"], "RejectGateSNR");
    assert_eq!(json["gates"].as_array().unwrap().len(), 3);
    assert_eq!(json["gates"][2]["threshold"], 0.85);
    assert_eq!(json["gates"][2]["enforcement"], "strict");
}

#[test]
fn every_profile_has_its_name() {
    for profile in Profile::ALL {
        assert_eq!(Profile::from_name(profile.as_str()), Some(profile));
        assert!((1..=GATES_MAX).contains(&profile.gates().len()));
    }
    assert_eq!(Profile::from_name("Check"), None);
}

fn maybe_score() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), (0.0..=1.0f64).prop_map(Some), (0.8..=1.0f64).prop_map(Some)]
}

proptest! {
    #[test]
    fn check_passes_exactly_when_text_and_both_scores_are_good(
        content: Vec<u8>, ihsan in maybe_score(), snr in maybe_score(),
    ) {
        let is_good = std::str::from_utf8(&content).is_ok()
            && ihsan.is_some_and(|score| score >= 0.95)
            && snr.is_some_and(|score| score >= 0.85);
        prop_assert_eq!(check(input(content, ihsan, snr)).passed(), is_good);
    }

    #[test]
    fn a_lower_claim_never_turns_a_refusal_into_a_pass(
        ihsan in 0.0..=1.0f64, snr in 0.0..=1.0f64, factor in 0.0..=1.0f64,
    ) {
        let high = check(input("text", Some(ihsan), Some(snr)));
        let low = check(input("text", Some(ihsan * factor), Some(snr * factor)));
        prop_assert!(high.passed() || !low.passed());
    }

    #[test]
    fn arbitrary_bytes_never_panic(content: Vec<u8>) {
        check(json_input(content));
    }
}
