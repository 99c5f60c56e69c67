//! Which tier a prompt should go to, and in which order backends are tried.

use crate::domain::inference::Tier;

/// How hard a prompt is, estimated from its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complexity {
    /// A short question.
    Simple,
    /// A longer question, or a longer answer.
    Medium,
    /// Code, an explanation, or a page of text.
    Complex,
    /// A long explanation or a very long answer.
    Expert,
}

impl Complexity {
    /// Estimates how hard `prompt` is when at most `max_tokens` are to follow.
    pub fn estimate(prompt: &str, max_tokens: usize) -> Self {
        let words = prompt.split_whitespace().count();
        let explains = prompt.split(|c: char| !c.is_alphanumeric()).any(is_explain);
        if max_tokens > 2000 || (explains && words > 200) {
            Self::Expert
        } else if prompt.contains("```") || explains || words > 100 {
            Self::Complex
        } else if words > 30 || max_tokens > 500 {
            Self::Medium
        } else {
            Self::Simple
        }
    }

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Medium => "medium",
            Self::Complex => "complex",
            Self::Expert => "expert",
        }
    }

    /// The tier whose models are large enough: up to 1.5, 13 and more billion weights.
    pub const fn tier(self) -> Tier {
        match self {
            Self::Simple | Self::Medium => Tier::Edge,
            Self::Complex => Tier::Local,
            Self::Expert => Tier::Pool,
        }
    }
}

/// Whether a word is a form of "explain".
fn is_explain(word: &str) -> bool {
    word.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("explain"))
}

/// A tier and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The tier.
    pub tier: Tier,
    /// How hard the prompt is.
    pub complexity: Complexity,
    /// Why, in words.
    pub reasoning: String,
}

/// Chooses a tier for `prompt` among those that would serve a request now.
///
/// With none available the choice is what the prompt alone asks for.
pub fn choose(
    prompt: &str,
    max_tokens: usize,
    is_latency_sensitive: bool,
    available: &[Tier],
) -> Choice {
    let complexity = Complexity::estimate(prompt, max_tokens);
    let wanted = match complexity.tier() {
        Tier::Pool if is_latency_sensitive => Tier::Local,
        Tier::Local if is_latency_sensitive => Tier::Edge,
        tier => tier,
    };
    let haste = if is_latency_sensitive { " and latency counts" } else { "" };
    let word = complexity.as_str();
    let tier = available.iter().copied().min_by_key(|tier| rank(wanted, *tier)).unwrap_or(wanted);
    let reasoning = if available.is_empty() {
        format!("the prompt is {word}{haste}, which asks for {wanted}; no tier is available")
    } else if tier == wanted {
        format!("the prompt is {word}{haste}, which asks for {wanted}")
    } else {
        format!(
            "the prompt is {word}{haste}, which asks for {wanted}; the next available is {tier}"
        )
    };
    Choice { tier, complexity, reasoning }
}

/// Where `tier` stands among the substitutes of `wanted`: first itself, then lower ones, nearest
/// first, then higher ones, nearest first.
fn rank(wanted: Tier, tier: Tier) -> (bool, u8) {
    let (wanted, tier) = (wanted as u8, tier as u8);
    (tier > wanted, wanted.abs_diff(tier))
}

/// A backend that could be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Where its models run.
    pub tier: Tier,
    /// Its models' names. Only needed when the request names one.
    pub models: Vec<String>,
}

/// What to do for a request, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try the offer at this index.
    Try(usize),
    /// No backend serves this tier, which was asked for; it is recorded as an attempt.
    Absent(Tier),
}

/// No offer has the model, or none of the tier asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchModel {
    /// What there is, sorted; each with its tier where one was asked for.
    pub available: Vec<String>,
}

/// Plans the attempts at a request.
///
/// The tier asked for comes first, or else the one that `complexity` asks for; then lower tiers,
/// nearest first; then the other tier of this site, should the first not answer. The pool is used
/// only when it is asked for or the prompt asks for it: a prompt does not leave for other nodes
/// because a backend here is out of order. With a model named, only its backends are tried; with a
/// tier besides, only those of this tier: who says both means this model there and no other.
///
/// # Errors
/// When a model is named that no offer has, or none of the tier asked for.
pub fn plan(
    requested: Option<Tier>,
    model: Option<&str>,
    complexity: Complexity,
    offers: &[Offer],
) -> Result<Vec<Step>, NoSuchModel> {
    let wanted = requested.unwrap_or(complexity.tier());
    let has_model = |offer: &Offer| {
        model.is_none_or(|model| {
            offer.models.iter().any(|name| is_same_model(name, model))
                && requested.is_none_or(|tier| offer.tier == tier)
        })
    };
    let mut steps = Vec::with_capacity(offers.len() + 1);
    let mut order: Vec<usize> = (0..offers.len())
        .filter(|index| has_model(&offers[*index]))
        .filter(|index| offers[*index].tier != Tier::Pool || wanted == Tier::Pool)
        .collect();
    if order.is_empty() && model.is_some() && !offers.iter().any(has_model) {
        let listed = |tier: Tier, name: &String| match requested {
            Some(_) => format!("{name} ({tier})"),
            None => name.clone(),
        };
        let mut available: Vec<_> = offers
            .iter()
            .flat_map(|offer| offer.models.iter().map(|name| listed(offer.tier, name)))
            .collect();
        available.sort();
        available.dedup();
        return Err(NoSuchModel { available });
    }
    order.sort_by_key(|index| rank(wanted, offers[*index].tier));
    if requested.is_some() && !offers.iter().any(|offer| offer.tier == wanted) {
        steps.push(Step::Absent(wanted));
    }
    steps.extend(order.into_iter().map(Step::Try));
    Ok(steps)
}

/// Whether a listed model is the one asked for. Ollama lists a model without tag as `:latest`.
pub fn is_same_model(listed: &str, asked: &str) -> bool {
    listed == asked || listed.strip_suffix(":latest").is_some_and(|name| name == asked)
}

/// Whether `served` is less than what was asked for.
pub fn is_degraded(requested: Option<Tier>, served: Tier) -> bool {
    requested.is_some_and(|requested| served < requested)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(count: usize) -> String {
        vec!["word"; count].join(" ")
    }

    fn offers() -> Vec<Offer> {
        vec![
            Offer { tier: Tier::Edge, models: vec!["demo".into()] },
            Offer { tier: Tier::Local, models: vec!["llama3.2:latest".into(), "demo".into()] },
        ]
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
        offers.push(Offer { tier: Tier::Pool, models: vec!["demo".into()] });
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

    proptest! {
        #[test]
        fn every_backend_is_tried_at_most_once_and_lower_tiers_before_higher(
            requested in proptest::option::of(tier()),
            tiers in proptest::collection::vec(tier(), 0..6),
            max_tokens in 1usize..4000,
        ) {
            let complexity = Complexity::estimate("hi", max_tokens);
            let offers: Vec<_> =
                tiers.iter().map(|tier| Offer { tier: *tier, models: Vec::new() }).collect();
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
}
