//! The gates, attacked.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::constitution::{Constitution, DEFAULT_TOML};
use crate::domain::digest::Digest;
use crate::domain::profile::Profile;

fn score(value: f64) -> Score {
    Score::try_from(value).unwrap()
}

fn input(content: impl Into<Bytes>, ihsan: Option<f64>, snr: Option<f64>) -> GateInput {
    let (snr_claim, ihsan_claim) = (snr.map(score), ihsan.map(score));
    GateInput { snr_claim, ihsan_claim, ..GateInput::text(content) }
}

/// A run by a judge that knows no sender and whose clock stands still.
fn judge(constitution: &Constitution, profile: Profile, input: GateInput) -> Receipt {
    run(constitution, profile, input, &Surroundings::default(), || Duration::ZERO)
}

fn json_input(content: impl Into<Bytes>) -> GateInput {
    GateInput { content_type: ContentType::Json, ..input(content, Some(1.0), Some(1.0)) }
}

fn check(input: GateInput) -> Receipt {
    judge(&Constitution::default(), Profile::Check, input)
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
    assert!(receipt.reason().unwrap().starts_with("the ihsan score is missing"));
    let receipt = check(input("text", Some(1.0), None));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateSNR));
    assert!(receipt.reason().unwrap().starts_with("the snr score is missing: "));
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
    let constitution = Constitution::default();
    let profile = Profile::InferenceInput;
    let of = |receipt: &Receipt, gate| {
        receipt.verdicts().iter().find(|verdict| verdict.gate == gate).unwrap().clone()
    };
    let absent = judge(&constitution, profile, input("text", None, None));
    assert!(absent.passed() && absent.warnings().is_empty());
    assert_eq!(absent.verdicts().len(), profile.gates().len());
    for gate in [Gate::Ihsan, Gate::Snr] {
        let verdict = of(&absent, gate);
        assert_eq!(verdict.source, Source::Unavailable);
        assert!(!verdict.passed, "what was not judged has not passed");
        assert_eq!(verdict.code, None);
    }
    let low = judge(&constitution, profile, input("text", Some(0.1), Some(0.1)));
    assert!(low.passed());
    assert_eq!(of(&low, Gate::Ihsan).code, Some(RejectCode::RejectGateIhsan));
    assert_eq!(low.warnings().len(), 2);
    let unreadable = judge(&constitution, profile, input(&b"\x80"[..], Some(1.0), Some(1.0)));
    assert!(!unreadable.passed());
}

#[test]
fn the_constitution_decides_what_is_strict_and_what_is_enough() {
    let strict = DEFAULT_TOML.replace("ihsan = \"advisory\"", "ihsan = \"strict\"");
    let strict = Constitution::parse("x", &strict).unwrap();
    let receipt = judge(&strict, Profile::InferenceInput, input("text", None, None));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan));
    let tight = DEFAULT_TOML.replace("threshold = 0.85", "threshold = 0.99");
    let tight = Constitution::parse("x", &tight).unwrap();
    let receipt = judge(&tight, Profile::Check, input("text", Some(1.0), Some(0.98)));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateSNR));
    assert_eq!(receipt.constitution_digest(), tight.digest());
}

#[test]
fn a_run_without_verdicts_is_not_a_pass() {
    let open = Receipt::open(Profile::Check, Digest::from([0; 32]));
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
    let whole = check(input(content.clone(), Some(1.0), Some(1.0)));
    assert!(verdict_of(&whole, Gate::Schema).passed);
    assert_eq!(whole.code(), Some(RejectCode::RejectGateSNR), "one letter is no prose");
    let over = [content, vec![b'a']].concat();
    assert_eq!(check(input(over, Some(1.0), Some(1.0))).code(), Some(RejectCode::RejectGateSchema));
}

#[test]
fn times_are_noted_only_when_asked_for_and_are_never_signed() {
    let constitution = Constitution::default();
    let content = || input("text", Some(1.0), Some(1.0));
    let plain = judge(&constitution, Profile::Check, content());
    assert_eq!(plain.duration(0), None);
    let mut now = Duration::ZERO;
    let around = Surroundings::default();
    let timed = run_timed(&constitution, Profile::Check, content(), &around, || {
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

/// A text with a key that nobody publishes by choice.
const LEAK: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp\n\
                    -----END PRIVATE KEY-----\n";

#[test]
fn harm_is_a_veto_whatever_is_claimed() {
    let receipt = check(input(LEAK, Some(1.0), Some(1.0)));
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan));
    let reason = receipt.reason().unwrap();
    assert!(reason.contains("veto"), "{reason}");
    assert!(!reason.contains("MC4CAQ"), "a receipt never repeats what it found: {reason}");
    assert!(!receipt.to_json().to_string().contains("MC4CAQ"));

    let constitution = Constitution::default();
    let output = judge(&constitution, Profile::InferenceOutput, input(LEAK, Some(1.0), None));
    assert_eq!(output.code(), Some(RejectCode::RejectGateIhsan));
    assert_eq!(output.verdicts().last().unwrap().gate, Gate::Harm);
    let prompt = judge(&constitution, Profile::InferenceInput, input(LEAK, Some(1.0), None));
    assert!(prompt.passed(), "what goes in is only warned of");
    assert!(prompt.warnings()[0].contains("harm"), "{:?}", prompt.warnings());
}

#[test]
fn harm_is_found_in_json_also_behind_escapes_and_in_keys() {
    let plain = serde_json::json!({ "note": LEAK }).to_string();
    let escaped = plain.replace("-----BEGIN", "\\u002d----BEGIN");
    assert_ne!(plain, escaped);
    let key = serde_json::json!({ LEAK: 1 }).to_string();
    for content in [plain, escaped, key] {
        let receipt = check(json_input(content.clone()));
        assert_eq!(receipt.code(), Some(RejectCode::RejectGateIhsan), "{content}");
    }
}

/// Long enough to be measured, and nothing but noise.
fn noise() -> String {
    "xq zvkw jjqx pfft qqz ".repeat(20)
}

#[test]
fn a_claim_never_raises_what_was_measured() {
    let measured = check(input(noise(), Some(1.0), None));
    assert_eq!(measured.code(), Some(RejectCode::RejectGateSNR));
    let claimed = check(input(noise(), Some(1.0), Some(1.0)));
    assert_eq!(claimed.code(), Some(RejectCode::RejectGateSNR));
    assert_eq!(claimed.verdicts()[2].source, Source::Measured);
    assert_eq!(claimed.verdicts()[2].score, measured.verdicts()[2].score);
    let (scorer, version) = claimed.verdicts()[2].scorer().unwrap();
    assert!(!scorer.is_empty() && !version.is_empty());
    // The same in the strings of JSON, which says nothing of its own.
    let json = serde_json::json!({ "text": noise() }).to_string();
    assert_eq!(check(json_input(json)).code(), Some(RejectCode::RejectGateSNR));
}

#[test]
fn a_gate_that_takes_too_long_is_given_up_and_refuses() {
    let constitution = Constitution::default();
    let around = Surroundings::default();
    // Every look at this clock finds a second gone.
    let slow = |input| {
        let mut now = Duration::ZERO;
        run(&constitution, Profile::Check, input, &around, || {
            now += Duration::from_secs(1);
            now
        })
    };
    let large = "A sentence of common words that says nothing new. ".repeat(2000);
    for input in [input(large.clone(), Some(1.0), Some(1.0)), input(large, None, None)] {
        let receipt = slow(input);
        assert_eq!(receipt.code(), Some(RejectCode::RejectTimeout));
        assert!(receipt.reason().unwrap().contains("took more than"), "{:?}", receipt.reason());
    }
    assert!(slow(input("short", Some(1.0), Some(1.0))).passed(), "no clock is read for a moment");
}

#[test]
fn a_message_needs_a_sender_that_signed_and_is_in_good_standing() {
    let constitution = Constitution::default();
    let key = crate::domain::identity::NodeKey::from_secret(&[7; 32]);
    let message = |sender| GateInput {
        facts: Some(Box::new(Facts { sender, ..Facts::default() })),
        ..GateInput::text("hello")
    };
    let admit = |input, standing| {
        let around = Surroundings { now_ms: 1_000_000, standing };
        run(&constitution, Profile::PeerMessage, input, &around, || Duration::ZERO)
    };
    let known = || message(Some(*key.public_key()));
    assert!(admit(known(), Standing::FULL).passed());
    let unsigned = admit(message(None), Standing::FULL);
    assert_eq!(unsigned.code(), Some(RejectCode::RejectGateSig));
    assert_eq!(admit(GateInput::text("hello"), Standing::FULL).code(), unsigned.code());

    let low = Standing { trust: Score::ZERO, at_ms: 1_000_000, ..Standing::FULL };
    let receipt = admit(known(), low);
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate));
    assert!(receipt.reason().unwrap().contains("trust"), "{:?}", receipt.reason());
    let cooling = Standing { cooldown_until_ms: 1_060_000, ..Standing::FULL };
    let receipt = admit(known(), cooling);
    assert_eq!(receipt.code(), Some(RejectCode::RejectGateRate));
    assert!(receipt.reason().unwrap().contains("60 s"), "{:?}", receipt.reason());
}

/// An answer of which everything is known that the router knows.
fn answer(text: &str, change: impl FnOnce(&mut Facts, &mut Action)) -> GateInput {
    let key = *crate::domain::identity::NodeKey::from_secret(&[7; 32]).public_key();
    let intent = Some(Digest::from([1; 32]));
    let mut action = Action {
        intent_declared: intent,
        intent_of_output: intent,
        signer: Some(key),
        known_keys: Some(vec![key]),
        receipt_ready: Some(true),
        inputs: intent,
        model: Some("demo".into()),
        cost: Cost::try_from(3).ok(),
        cost_max: Cost::try_from(8).ok(),
        autonomy: Autonomy::try_from(0).ok(),
        risk: None,
        is_reversible: Some(false),
        approval: None,
    };
    let mut facts = Facts {
        contract: vec![Clause::TokensMax(8), Clause::Excludes("STOP".into())],
        tokens: Some(3),
        budgets: vec![Budget { resource: ihsan::Resource::Tokens, used: 3, allowed: 8 }],
        ..Facts::default()
    };
    change(&mut facts, &mut action);
    facts.action = Some(action);
    GateInput { facts: Some(Box::new(facts)), ..GateInput::text(text.to_owned()) }
}

fn verdict_of(receipt: &Receipt, gate: Gate) -> Verdict {
    receipt.verdicts().iter().find(|verdict| verdict.gate == gate).unwrap().clone()
}

#[test]
fn an_answer_is_measured_and_decided_on_by_what_is_known_of_it() {
    let constitution = Constitution::default();
    let of = |input| judge(&constitution, Profile::InferenceOutput, input);
    let good = of(answer("a b c", |_, _| ()));
    assert!(good.passed());
    let ihsan = verdict_of(&good, Gate::Ihsan);
    assert_eq!((ihsan.source, ihsan.score), (Source::Measured, Some(Score::ONE)));
    let evidence = ihsan.evidence.unwrap().to_json();
    assert_eq!(evidence["coverage"], 0.56);
    let unverified = evidence["unverified"].as_array().unwrap();
    for name in ["user_benefit", "robustness", "adl_fairness", "auditability"] {
        assert!(unverified.contains(&name.into()), "{name}: {evidence}");
    }
    let fate = verdict_of(&good, Gate::Fate);
    assert!(fate.passed, "{:?}", fate.evidence);
    assert_eq!(fate.evidence.unwrap().to_json()["holds"], true);

    let broken = of(answer("a STOP c", |_, _| ()));
    assert_eq!(verdict_of(&broken, Gate::Ihsan).code, Some(RejectCode::RejectGateIhsan));
    assert_eq!(verdict_of(&broken, Gate::Fate).code, Some(RejectCode::RejectGateFATE));
    assert!(broken.passed() && broken.warnings().len() == 2, "{:?}", broken.warnings());
}

#[test]
fn what_fate_is_not_told_is_missing_by_name() {
    let constitution = Constitution::default();
    let reason = |change: fn(&mut Facts, &mut Action)| {
        let receipt = judge(&constitution, Profile::InferenceOutput, answer("a b c", change));
        let verdict = verdict_of(&receipt, Gate::Fate);
        assert!(!verdict.passed);
        verdict.evidence.unwrap().to_string()
    };
    assert_eq!(reason(|_, action| action.signer = None), "missing: signer");
    assert_eq!(reason(|_, action| action.receipt_ready = None), "missing: receipt_ready");
    assert_eq!(reason(|_, action| action.model = Some(" ".into())), "missing: model");
    assert!(reason(|facts, _| facts.contract.clear()).contains("contract_holds"));
    assert!(reason(|_, action| action.known_keys = Some(vec![])).contains("signer_is_known"));
    assert!(reason(|_, action| action.cost = Cost::try_from(9).ok()).contains("cost is 9"));
    assert!(reason(|_, action| action.risk = Some(Score::ONE)).contains("risk"));
    let unknown = judge(&constitution, Profile::InferenceOutput, GateInput::text("a b c"));
    assert!(unknown.passed(), "it is advisory by default");
    let strict = DEFAULT_TOML.replace("fate = \"advisory\"", "fate = \"strict\"");
    let strict = Constitution::parse("x", &strict).unwrap();
    let refused = judge(&strict, Profile::InferenceOutput, GateInput::text("a b c"));
    assert_eq!(refused.code(), Some(RejectCode::RejectGateFATE));
}

#[test]
fn a_claim_of_excellence_never_raises_a_measured_one() {
    let constitution = Constitution::default();
    let claimed = |claim| {
        let input = GateInput { ihsan_claim: claim, ..answer("a STOP c", |_, _| ()) };
        verdict_of(&judge(&constitution, Profile::InferenceOutput, input), Gate::Ihsan).score
    };
    assert_eq!(claimed(Some(Score::ONE)), claimed(None));
    assert_eq!(claimed(Some(Score::ZERO)), Some(Score::ZERO));
}

#[test]
fn sources_ground_a_text_and_padding_does_not() {
    let source = "The store writes every envelope to disk before it answers. A crash after the \
                  answer loses nothing, because the log was flushed first.";
    let text = "The store writes every envelope to disk before it answers, and a crash after the \
                answer loses nothing, because the log was flushed first.";
    let grounding = |text: &str| {
        let facts = Facts { sources: vec![source.to_owned()], ..Facts::default() };
        let input = GateInput { facts: Some(Box::new(facts)), ..GateInput::text(text.to_owned()) };
        let receipt = judge(&Constitution::default(), Profile::InferenceInput, input);
        let evidence = verdict_of(&receipt, Gate::Snr).evidence.unwrap().to_json();
        evidence["grounding"].as_f64().unwrap()
    };
    assert_eq!(grounding(text), 1.0);
    let invented = "The moon is made of green cheese and turns around a large blue kettle.";
    assert!(grounding(&format!("{text} {invented}")) < 1.0);
    let padded = format!("{text} {invented} store envelope disk crash log flushed answers");
    assert!(grounding(&padded) <= grounding(&format!("{text} {invented}")));
}

#[test]
fn short_json_is_turned_away_only_where_its_text_would_be() {
    let codes = |text: &str| {
        let json = serde_json::json!({ "x": text }).to_string();
        let of = |input| verdict_of(&check(input), Gate::Snr).source;
        let claims = |content_type, content: String| GateInput {
            content_type,
            ..input(content, Some(1.0), Some(1.0))
        };
        (of(claims(ContentType::Json, json)), of(claims(ContentType::Text, text.to_owned())))
    };
    for text in [
        "a claim",
        "one two three four five six seven eight nine ten eleven twelve",
        "qwrtzpsdfghjklyxcvbnmqwrtzpsdfghjklyxcvbnmqwrtzpsdfghjklyxcvbnmqwrtzpsdfghjklyxcvbnmqwrtz",
        "a-b-c-d-e-f-g-h-i-j-k-l-m",
        "",
    ] {
        let (json, plain) = codes(text);
        assert_eq!(json, plain, "{text}");
    }
}
