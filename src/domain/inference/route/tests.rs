//! Choices and plans by table and for any backends.

use proptest::prelude::*;

use super::*;

fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

fn offer(tier: Tier, models: &[&str]) -> Offer {
    let models = models.iter().map(|name| (*name).to_owned()).collect();
    Offer { tier, models, standing: Standing::default() }
}

fn offers() -> Vec<Offer> {
    vec![offer(Tier::Edge, &["demo"]), offer(Tier::Local, &["llama3.2:latest", "demo"])]
}

/// As for the first request.
fn plan(
    requested: Option<Tier>,
    model: Option<&str>,
    complexity: Complexity,
    offers: &[Offer],
) -> Result<Vec<Step>, NoSuchModel> {
    super::plan(requested, model, complexity, offers, 0)
}

#[test]
fn complexity_follows_the_published_rules() {
    let cases = [
        ("hi".to_owned(), 500, Complexity::Simple),
        ("hi".to_owned(), 501, Complexity::Medium),
        (words(30), 1, Complexity::Simple),
        (words(31), 1, Complexity::Medium),
        (words(100), 1, Complexity::Medium),
        (words(101), 1, Complexity::Complex),
        ("Explain it".to_owned(), 1, Complexity::Complex),
        ("please EXPLAIN: why".to_owned(), 1, Complexity::Complex),
        ("unexplained".to_owned(), 1, Complexity::Simple),
        ("```rust\nfn f() {}\n```".to_owned(), 1, Complexity::Complex),
        (format!("explain {}", words(199)), 1, Complexity::Complex),
        (format!("explain {}", words(200)), 1, Complexity::Expert),
        ("hi".to_owned(), 2000, Complexity::Medium),
        ("hi".to_owned(), 2001, Complexity::Expert),
        ("\u{8aac}\u{660e}\u{3057}\u{3066}\u{8aac}\u{660e}".to_owned(), 1, Complexity::Simple),
    ];
    for (prompt, max_tokens, expected) in cases {
        assert_eq!(Complexity::estimate(&prompt, max_tokens), expected, "{prompt:.20}");
    }
}

#[test]
fn the_next_lower_tier_is_chosen_when_the_wanted_one_is_away() {
    let tier = |available: &[Tier]| choose("hi", 4000, false, available).tier;
    assert_eq!(tier(&[Tier::Edge, Tier::Local, Tier::Pool]), Tier::Pool);
    assert_eq!(tier(&[Tier::Edge, Tier::Local]), Tier::Local);
    assert_eq!(tier(&[Tier::Edge]), Tier::Edge);
    assert_eq!(tier(&[]), Tier::Pool);
    assert_eq!(choose("hi", 1, false, &[Tier::Pool, Tier::Local]).tier, Tier::Local);
}

#[test]
fn haste_takes_a_smaller_tier() {
    let all = [Tier::Edge, Tier::Local, Tier::Pool];
    assert_eq!(choose("explain it", 1, true, &all).tier, Tier::Edge);
    assert_eq!(choose("hi", 4000, true, &all).tier, Tier::Local);
    assert_eq!(choose("hi", 1, true, &all).tier, Tier::Edge);
}

#[test]
fn a_tier_asked_for_comes_first_and_the_other_stands_by() {
    let simple = Complexity::Simple;
    assert_eq!(
        plan(Some(Tier::Local), None, simple, &offers()),
        Ok(vec![Step::Try(1), Step::Try(0)])
    );
    assert_eq!(
        plan(Some(Tier::Edge), None, Complexity::Expert, &offers()),
        Ok(vec![Step::Try(0), Step::Try(1)])
    );
}

#[test]
fn an_absent_tier_is_recorded_when_it_was_asked_for() {
    let absent = Step::Absent(Tier::Pool);
    assert_eq!(
        plan(Some(Tier::Pool), None, Complexity::Simple, &offers()),
        Ok(vec![absent, Step::Try(1), Step::Try(0)])
    );
    assert_eq!(
        plan(None, None, Complexity::Expert, &offers()),
        Ok(vec![Step::Try(1), Step::Try(0)])
    );
}

#[test]
fn a_prompt_goes_to_the_pool_only_when_the_pool_is_wanted() {
    let mut offers = offers();
    offers.push(offer(Tier::Pool, &["demo"]));
    for requested in [Some(Tier::Edge), Some(Tier::Local), None] {
        let steps = plan(requested, None, Complexity::Complex, &offers).unwrap();
        assert!(!steps.contains(&Step::Try(2)), "{requested:?}");
    }
    let steps = plan(Some(Tier::Pool), None, Complexity::Simple, &offers).unwrap();
    assert_eq!(steps, [Step::Try(2), Step::Try(1), Step::Try(0)]);
}

#[test]
fn a_named_model_is_tried_only_where_it_is() {
    let steps = |model| plan(None, Some(model), Complexity::Simple, &offers());
    assert_eq!(steps("llama3.2"), Ok(vec![Step::Try(1)]));
    assert_eq!(steps("llama3.2:latest"), Ok(vec![Step::Try(1)]));
    assert_eq!(steps("demo"), Ok(vec![Step::Try(0), Step::Try(1)]));
    let error = steps("llama3").unwrap_err();
    assert_eq!(error.available, ["demo", "llama3.2:latest"]);
}

#[test]
fn a_model_named_with_a_tier_is_tried_only_there() {
    let steps = |tier, model| plan(Some(tier), Some(model), Complexity::Simple, &offers());
    assert_eq!(steps(Tier::Local, "llama3.2"), Ok(vec![Step::Try(1)]));
    assert_eq!(steps(Tier::Local, "demo"), Ok(vec![Step::Try(1)]));
    assert_eq!(steps(Tier::Edge, "demo"), Ok(vec![Step::Try(0)]));
    for (tier, model) in [(Tier::Edge, "llama3.2"), (Tier::Pool, "demo")] {
        let error = steps(tier, model).unwrap_err();
        assert_eq!(error.available, ["demo (Edge)", "demo (Local)", "llama3.2:latest (Local)"]);
    }
}

#[test]
fn degraded_means_lower_than_asked_for() {
    assert!(is_degraded(Some(Tier::Local), Tier::Edge));
    assert!(!is_degraded(Some(Tier::Edge), Tier::Local));
    assert!(!is_degraded(Some(Tier::Pool), Tier::Pool));
    assert!(!is_degraded(None, Tier::Edge));
}

fn tier() -> impl Strategy<Value = Tier> {
    prop_oneof![Just(Tier::Edge), Just(Tier::Local), Just(Tier::Pool)]
}

#[test]
fn of_one_tier_who_works_has_room_and_is_fast_comes_first() {
    let standing = |is_shut, load, first_token_ms: Option<u64>| Standing {
        is_shut,
        load,
        first_token: first_token_ms.map(Duration::from_millis),
    };
    let first = |a: Standing, b: Standing| {
        let of = |standing| Offer { standing, ..offer(Tier::Local, &[]) };
        let steps = plan(Some(Tier::Local), None, Complexity::Simple, &[of(a), of(b)]).unwrap();
        let Step::Try(first) = steps[0] else { panic!("{steps:?}") };
        assert_eq!(steps.len(), 2, "the other stands by");
        first
    };
    for (a, b, expected, why) in [
        ((true, 0.0, None), (false, 9.0, None), 1, "a shut one is last"),
        ((false, 1.0, Some(1)), (false, 0.75, Some(1000)), 1, "a full one after one with room"),
        ((false, 3.0, Some(1000)), (false, 4.0, Some(1)), 0, "the shorter queue"),
        ((false, 0.5, None), (false, 0.25, None), 1, "the one with less to do"),
        ((false, 0.0, Some(900)), (false, 0.0, Some(100)), 1, "the faster one"),
        ((false, 0.0, Some(100)), (false, 0.0, Some(120)), 0, "about as fast is as fast"),
        ((false, 0.75, Some(100)), (false, 0.0, Some(250)), 1, "fast, but with much to do"),
        ((false, 0.0, Some(100)), (false, 0.0, None), 0, "unknown is as good as the best"),
        ((false, 0.25, Some(100)), (false, 0.0, None), 1, "and becomes known"),
    ] {
        let of = |it: (bool, f64, Option<u64>)| standing(it.0, it.1, it.2);
        assert_eq!(first(of(a), of(b)), expected, "{why}");
    }
}

#[test]
fn equal_backends_take_turns() {
    let offers = [Tier::Local, Tier::Edge, Tier::Local, Tier::Local].map(|tier| offer(tier, &[]));
    let firsts = (0..6).map(|turn| {
        let steps = super::plan(Some(Tier::Local), None, Complexity::Simple, &offers, turn);
        steps.unwrap()[0]
    });
    assert_eq!(firsts.collect::<Vec<_>>(), [0, 2, 3, 0, 2, 3].map(Step::Try));
}

#[test]
fn who_was_slow_is_asked_now_and_then() {
    let paced = |ms| {
        let first_token = Some(Duration::from_millis(ms));
        let standing = Standing { first_token, ..Standing::default() };
        Offer { standing, ..offer(Tier::Local, &[]) }
    };
    let offers = [paced(1000), paced(10)];
    let slow_turns: Vec<_> = (0..64)
        .filter(|turn| {
            let steps = super::plan(Some(Tier::Local), None, Complexity::Simple, &offers, *turn);
            steps.unwrap()[0] == Step::Try(0)
        })
        .collect();
    assert_eq!(slow_turns, [15, 47]);
}

proptest! {
    #[test]
    fn every_backend_is_tried_at_most_once_and_lower_tiers_before_higher(
        requested in proptest::option::of(tier()),
        tiers in proptest::collection::vec(tier(), 0..6),
        max_tokens in 1usize..4000,
    ) {
        let complexity = Complexity::estimate("hi", max_tokens);
        let offers: Vec<_> =
            tiers.iter().map(|tier| offer(*tier, &[])).collect();
        let steps = plan(requested, None, complexity, &offers).unwrap();
        let wanted = requested.unwrap_or(complexity.tier());
        let mut seen = Vec::new();
        for step in &steps {
            match step {
                Step::Try(index) => {
                    prop_assert!(!seen.contains(index));
                    seen.push(*index);
                }
                Step::Absent(tier) => {
                    prop_assert_eq!(Some(*tier), requested);
                    prop_assert!(!tiers.contains(tier));
                }
            }
        }
        let ranks: Vec<_> = seen.iter().map(|index| rank(wanted, tiers[*index])).collect();
        prop_assert!(ranks.is_sorted());
        let tried = tiers.iter().filter(|t| **t != Tier::Pool || wanted == Tier::Pool).count();
        prop_assert_eq!(seen.len(), tried);
    }

    #[test]
    fn any_text_has_a_complexity(prompt: String, max_tokens: usize) {
        let longer = Complexity::estimate(&prompt, max_tokens.saturating_add(3000));
        prop_assert!(longer >= Complexity::estimate(&prompt, max_tokens));
    }
}
