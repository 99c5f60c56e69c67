use proptest::prelude::*;

use super::approval::{ApprovalError, LIFE_MS_MAX, Statement};
use super::*;
use crate::domain::digest::domain_separated_digest;
use crate::domain::identity::{KeyUse, NodeKey, Signature};

const NOW_MS: u64 = 1_750_000_000_000;

const SCORERS: &[Scorer<'_>] = &[Scorer { name: "harm-patterns", version: "1" }];

fn score(value: f64) -> Score {
    Score::try_from(value).unwrap()
}

fn key(seed: u8) -> NodeKey {
    NodeKey::from_secret(&[seed; 32])
}

fn intent() -> Digest {
    domain_separated_digest(b"summarise the report")
}

fn statement() -> Statement {
    Statement { intent: intent(), risk_max: Score::ONE, not_after_ms: NOW_MS + 1000 }
}

fn sign(statement: &Statement, key: &NodeKey, key_use: KeyUse) -> Signature {
    key.sign(key_use, &statement.to_bytes()).signature
}

fn approve(statement: Statement, human: &NodeKey) -> Approval {
    let signature = sign(&statement, human, KeyUse::Approval);
    let public = *human.public_key();
    Approval::verify(statement, public, &signature, &[public], NOW_MS).unwrap()
}

/// Facts over which everything holds.
fn good(known: &[PublicKey]) -> Facts<'_> {
    Facts {
        intent_declared: Some(intent()),
        intent_of_output: Some(intent()),
        contract_holds: Some(true),
        signer: Some(*key(1).public_key()),
        known_keys: Some(known),
        receipt_ready: Some(true),
        inputs: Some(domain_separated_digest(b"inputs")),
        model: Some("tiny"),
        scorers: Some(SCORERS),
        evidence: Some(domain_separated_digest(b"evidence")),
        harm: Some(score(0.3)),
        ihsan: Some(score(0.95)),
        cost: Some(Cost::try_from(10).unwrap()),
        cost_max: Some(Cost::try_from(10).unwrap()),
        autonomy: Some(Autonomy::try_from(4).unwrap()),
        risk: Some(score(0.3)),
        is_reversible: Some(false),
        approval: None,
    }
}

fn known() -> Vec<PublicKey> {
    vec![*key(9).public_key(), *key(1).public_key()]
}

fn holds(facts: &Facts<'_>) -> bool {
    decide(facts, &Bounds::default()).holds()
}

#[test]
fn good_facts_hold_at_the_very_bounds() {
    let known = known();
    let certificate = decide(&good(&known), &Bounds::default());
    assert_eq!(certificate.reason(), None);
    assert!(certificate.holds() && certificate.missing().is_empty());
    assert_eq!(certificate.inequalities().len(), INEQUALITIES);
    assert!(Predicate::ALL.into_iter().all(|predicate| certificate.predicate_holds(predicate)));
}

#[test]
fn nothing_never_passes_and_names_all_that_is_missing() {
    let certificate = decide(&Facts::default(), &Bounds::default());
    assert!(!certificate.holds());
    assert_eq!(
        certificate.missing(),
        [
            "intent_declared",
            "intent_of_output",
            "contract_holds",
            "signer",
            "known_keys",
            "receipt_ready",
            "inputs",
            "model",
            "scorers",
            "evidence",
            "harm",
            "ihsan",
            "cost",
            "cost_max",
            "risk",
            "autonomy",
            "is_reversible",
        ]
    );
    assert_eq!(certificate.inequalities().len(), INEQUALITIES);
    assert!(certificate.inequalities().iter().all(|inequality| !inequality.holds));
    assert!(!Predicate::ALL.into_iter().any(|predicate| certificate.predicate_holds(predicate)));
    assert!(!Certificate::open().holds(), "a list of nothing is no pass");
}

#[test]
fn each_input_alone_is_missed_by_its_name() {
    let known = known();
    let good = good(&known);
    let cases: [(&str, Facts<'_>); 17] = [
        ("intent_declared", Facts { intent_declared: None, ..good }),
        ("intent_of_output", Facts { intent_of_output: None, ..good }),
        ("contract_holds", Facts { contract_holds: None, ..good }),
        ("signer", Facts { signer: None, ..good }),
        ("known_keys", Facts { known_keys: None, ..good }),
        ("receipt_ready", Facts { receipt_ready: None, ..good }),
        ("inputs", Facts { inputs: None, ..good }),
        ("model", Facts { model: None, ..good }),
        ("scorers", Facts { scorers: None, ..good }),
        ("evidence", Facts { evidence: None, ..good }),
        ("harm", Facts { harm: None, ..good }),
        ("ihsan", Facts { ihsan: None, ..good }),
        ("cost", Facts { cost: None, ..good }),
        ("cost_max", Facts { cost_max: None, ..good }),
        ("risk", Facts { risk: None, ..good }),
        ("autonomy", Facts { autonomy: None, ..good }),
        ("is_reversible", Facts { is_reversible: None, ..good }),
    ];
    for (name, facts) in cases {
        let certificate = decide(&facts, &Bounds::default());
        assert!(!certificate.holds(), "{name}");
        assert_eq!(certificate.missing(), [name]);
        assert_eq!(certificate.reason(), Some(format!("missing: {name}")));
        let failed: Vec<_> = certificate.inequalities().iter().filter(|one| !one.holds).collect();
        assert!(!failed.is_empty(), "{name}");
        assert!(failed.iter().all(|one| one.left.is_none() || one.right.is_none()), "{failed:?}");
    }
}

#[test]
fn empty_records_are_missing() {
    let known = known();
    let good = good(&known);
    let nameless = [Scorer { name: "", version: "1" }];
    let unversioned = [SCORERS[0], Scorer { name: "x", version: "" }];
    for (facts, name) in [
        (Facts { model: Some(""), ..good }, "model"),
        (Facts { model: Some(" \n"), ..good }, "model"),
        (Facts { scorers: Some(&[]), ..good }, "scorers"),
        (Facts { scorers: Some(&nameless), ..good }, "scorers"),
        (Facts { scorers: Some(&unversioned), ..good }, "scorers"),
    ] {
        assert_eq!(decide(&facts, &Bounds::default()).missing(), [name]);
    }
}

#[test]
fn each_breach_alone_fails_its_own_comparison() {
    let known = known();
    let good = good(&known);
    let other = domain_separated_digest(b"delete all files");
    let cost = |units| Some(Cost::try_from(units).unwrap());
    for (facts, predicate, name) in [
        (Facts { intent_of_output: Some(other), ..good }, Predicate::Fidelity, "intent_matches"),
        (Facts { contract_holds: Some(false), ..good }, Predicate::Fidelity, "contract_holds"),
        (
            Facts { signer: Some(*key(2).public_key()), ..good },
            Predicate::Accountability,
            "signer_is_known",
        ),
        (Facts { known_keys: Some(&[]), ..good }, Predicate::Accountability, "signer_is_known"),
        (Facts { receipt_ready: Some(false), ..good }, Predicate::Accountability, "receipt_ready"),
        (Facts { harm: Some(score(0.3000001)), ..good }, Predicate::Ethics, "harm"),
        (Facts { ihsan: Some(score(0.9499999)), ..good }, Predicate::Ethics, "ihsan"),
        (Facts { cost: cost(11), ..good }, Predicate::Ethics, "cost"),
        (Facts { cost: cost(COST_MAX), ..good }, Predicate::Ethics, "cost"),
        (Facts { risk: Some(score(0.31)), ..good }, Predicate::Ethics, "risk"),
    ] {
        let certificate = decide(&facts, &Bounds::default());
        assert!(!certificate.holds() && certificate.missing().is_empty());
        let failed: Vec<_> = certificate.inequalities().iter().filter(|one| !one.holds).collect();
        assert_eq!(failed.len(), 1, "{name}: {failed:?}");
        assert_eq!((failed[0].predicate, failed[0].name), (predicate, name));
        assert!(!certificate.predicate_holds(predicate));
        let reason = certificate.reason().unwrap();
        assert!(reason.starts_with(&format!("{}: {name} is ", predicate.as_str())), "{reason}");
    }
}

#[test]
fn risk_is_bounded_by_autonomy_and_above_seven_tenths_by_a_person() {
    let known = known();
    let approval = approve(statement(), &key(7));
    for level in 0..=4 {
        let risk_max = [1.0, 0.9, 0.7, 0.5, 0.3][usize::from(level)];
        for hundredths in 0..=100u8 {
            let risk = f64::from(hundredths) / 100.0;
            for is_reversible in [false, true] {
                for approval in [None, Some(&approval)] {
                    let facts = Facts {
                        autonomy: Some(Autonomy::try_from(level).unwrap()),
                        risk: Some(score(risk)),
                        is_reversible: Some(is_reversible),
                        approval,
                        ..good(&known)
                    };
                    let is_allowed =
                        risk <= risk_max && (risk <= 0.7 || is_reversible || approval.is_some());
                    assert_eq!(holds(&facts), is_allowed, "{level} {risk} {is_reversible}");
                }
            }
        }
    }
}

#[test]
fn an_approval_takes_a_key_of_a_person_and_its_signature_for_that_use() {
    let (human, node) = (key(7), key(8));
    let humans = [*human.public_key()];
    let statement = statement();
    let verify = |statement: Statement, key: &NodeKey, signature: &Signature, now_ms| {
        Approval::verify(statement, *key.public_key(), signature, &humans, now_ms)
    };
    let signature = sign(&statement, &human, KeyUse::Approval);
    assert!(verify(statement, &human, &signature, NOW_MS).is_ok());
    assert!(verify(statement, &human, &signature, statement.not_after_ms).is_ok());

    let by_node = sign(&statement, &node, KeyUse::Approval);
    assert_eq!(verify(statement, &node, &by_node, NOW_MS), Err(ApprovalError::Role));
    assert_eq!(verify(statement, &human, &by_node, NOW_MS), Err(ApprovalError::Signature));
    // What `identity.sign` or an envelope signs is no approval.
    for other in [KeyUse::Message, KeyUse::Envelope] {
        let signature = sign(&statement, &human, other);
        assert_eq!(verify(statement, &human, &signature, NOW_MS), Err(ApprovalError::Signature));
    }
    for changed in [
        Statement { intent: domain_separated_digest(b"x"), ..statement },
        Statement { risk_max: score(0.5), ..statement },
        Statement { not_after_ms: statement.not_after_ms + 1, ..statement },
    ] {
        assert_eq!(verify(changed, &human, &signature, NOW_MS), Err(ApprovalError::Signature));
    }
    let late = statement.not_after_ms + 1;
    assert_eq!(verify(statement, &human, &signature, late), Err(ApprovalError::Expired));
    let early = statement.not_after_ms - LIFE_MS_MAX - 1;
    assert_eq!(verify(statement, &human, &signature, early), Err(ApprovalError::TooLong));
    let none = Approval::verify(statement, humans[0], &signature, &[], NOW_MS);
    assert_eq!(none, Err(ApprovalError::Role), "without a list of people nobody is one");
}

#[test]
fn an_approval_counts_for_its_intent_its_risk_and_somebody_else() {
    let known = vec![*key(1).public_key(), *key(7).public_key()];
    let risky = Facts {
        autonomy: Some(Autonomy::try_from(0).unwrap()),
        risk: Some(score(0.8)),
        ..good(&known)
    };
    let with = |approval: &Approval| holds(&Facts { approval: Some(approval), ..risky });
    assert!(with(&approve(statement(), &key(7))));
    assert!(with(&approve(Statement { risk_max: score(0.8), ..statement() }, &key(7))));
    assert!(!with(&approve(Statement { risk_max: score(0.79), ..statement() }, &key(7))));
    let other = Statement { intent: domain_separated_digest(b"other"), ..statement() };
    assert!(!with(&approve(other, &key(7))));
    // The signer of the output, though it is a person's key.
    assert!(!with(&approve(statement(), &key(1))));
}

#[test]
fn the_signed_form_of_an_approval_is_fixed() {
    let bytes = statement().to_bytes();
    let expected = format!(
        "{{\"intent\":\"{}\",\"not_after_ms\":\"1750000001000\",\"risk_max\":1}}",
        intent().to_hex()
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn levels_and_costs_out_of_range_are_refused() {
    assert_eq!(Autonomy::try_from(5), Err(AutonomyError(5)));
    assert_eq!(Autonomy::try_from(4).unwrap().level(), 4);
    assert_eq!(Cost::try_from(COST_MAX + 1), Err(CostError(COST_MAX + 1)));
    assert_eq!(Cost::try_from(COST_MAX).unwrap().units(), COST_MAX);
}

#[test]
fn the_certificate_can_be_checked_by_whoever_reads_it() {
    let known = known();
    let approval = approve(statement(), &key(7));
    for facts in [
        good(&known),
        Facts::default(),
        Facts { risk: Some(score(0.9)), approval: Some(&approval), ..good(&known) },
        Facts { cost: None, harm: Some(score(0.4)), ..good(&known) },
    ] {
        let certificate = decide(&facts, &Bounds::default());
        let json = certificate.to_json();
        for one in json["inequalities"].as_array().unwrap() {
            let sides = one["left"].as_f64().zip(one["right"].as_f64());
            let again =
                sides.is_some_and(|(left, right)| match one["comparator"].as_str().unwrap() {
                    "<=" => left <= right,
                    ">=" => left >= right,
                    other => panic!("{other}"),
                });
            assert_eq!(one["holds"], again, "{one}");
        }
        assert_eq!(json["holds"], certificate.holds());
        assert_eq!(json["missing"].as_array().unwrap().len(), certificate.missing().len());
        let all = json["predicates"].as_object().unwrap().values().all(|holds| holds == true);
        assert_eq!(all && certificate.missing().is_empty(), certificate.holds());
        // It goes into what is signed.
        assert!(crate::domain::json::canonical(&json).is_ok());
    }
}

fn any_score() -> impl Strategy<Value = Score> {
    (0u32..=1000).prop_map(|thousandths| score(f64::from(thousandths) / 1000.0))
}

#[derive(Clone, Debug)]
struct Drawn {
    scores: [Option<Score>; 3],
    costs: [Option<u64>; 2],
    level: Option<u8>,
    flags: [Option<bool>; 3],
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let some = |values: std::ops::RangeInclusive<u32>| {
        let one = values.prop_map(|thousandths| score(f64::from(thousandths) / 1000.0));
        proptest::option::weighted(0.9, one)
    };
    let flag = || proptest::option::weighted(0.9, any::<bool>());
    let cost = || proptest::option::weighted(0.9, 0u64..50);
    let scores = (some(0..=500), some(900..=1000), some(0..=1000));
    let level = proptest::option::weighted(0.9, 0u8..5);
    (scores, (cost(), cost()), level, (flag(), flag(), flag())).prop_map(
        |((harm, ihsan, risk), (cost, max), level, (a, b, c))| Drawn {
            scores: [harm, ihsan, risk],
            costs: [cost, max],
            level,
            flags: [a, b, c],
        },
    )
}

fn bind<'a>(drawn: &Drawn, known: &'a [PublicKey]) -> Facts<'a> {
    let cost = |index: usize| drawn.costs[index].map(|units| Cost::try_from(units).unwrap());
    Facts {
        harm: drawn.scores[0],
        ihsan: drawn.scores[1],
        risk: drawn.scores[2],
        cost: cost(0),
        cost_max: cost(1),
        autonomy: drawn.level.map(|level| Autonomy::try_from(level).unwrap()),
        is_reversible: drawn.flags[0],
        contract_holds: drawn.flags[1],
        receipt_ready: drawn.flags[2],
        ..good(known)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_holds_exactly_when_every_comparison_does_and_nothing_is_missing(drawn in drawn()) {
        let known = known();
        let certificate = decide(&bind(&drawn, &known), &Bounds::default());
        let is_full = drawn.scores.iter().all(Option::is_some)
            && drawn.costs.iter().all(Option::is_some)
            && drawn.level.is_some()
            && drawn.flags.iter().all(Option::is_some);
        prop_assert_eq!(certificate.missing().is_empty(), is_full);
        let all = certificate.inequalities().iter().all(|one| one.holds);
        prop_assert_eq!(certificate.holds(), all && is_full);
        prop_assert_eq!(certificate.reason().is_none(), certificate.holds());
    }

    #[test]
    fn a_worse_input_never_turns_a_refusal_into_a_pass(drawn in drawn(), by in any_score()) {
        let known = known();
        let before = bind(&drawn, &known);
        if holds(&before) {
            return Ok(());
        }
        let more = |value: Option<Score>| value.map(|value| value.max(by));
        let less = |value: Option<Score>| value.map(|value| value.min(by));
        let dearer = before.cost.map(|cost| Cost::try_from(cost.units() + 7).unwrap());
        let freer = before.autonomy.map(|one| Autonomy::try_from((one.level() + 1).min(4)).unwrap());
        for worse in [
            Facts { harm: more(before.harm), ..before },
            Facts { ihsan: less(before.ihsan), ..before },
            Facts { risk: more(before.risk), ..before },
            Facts { cost: dearer, ..before },
            Facts { cost_max: before.cost_max.map(|_| Cost::try_from(0).unwrap()), ..before },
            Facts { autonomy: freer, ..before },
            Facts { is_reversible: before.is_reversible.map(|_| false), ..before },
            Facts { contract_holds: before.contract_holds.map(|_| false), ..before },
            Facts { known_keys: Some(&[]), ..before },
            Facts { risk: None, ..before },
            Facts { harm: None, ..before },
        ] {
            prop_assert!(!holds(&worse), "{:?}", worse);
        }
    }

    #[test]
    fn tighter_bounds_never_turn_a_refusal_into_a_pass(drawn in drawn(), by in any_score()) {
        let known = known();
        let facts = bind(&drawn, &known);
        let bounds = Bounds::default();
        if decide(&facts, &bounds).holds() {
            return Ok(());
        }
        for tighter in [
            Bounds { harm_max: bounds.harm_max.min(by), ..bounds },
            Bounds { ihsan_min: bounds.ihsan_min.max(by), ..bounds },
            Bounds { risk_max: bounds.risk_max.map(|max| max.min(by)), ..bounds },
            Bounds { approval_above: bounds.approval_above.min(by), ..bounds },
        ] {
            prop_assert!(!decide(&facts, &tighter).holds());
        }
    }
}
