//! Which tier a prompt should go to, and in which order backends are tried.

use std::cmp::Ordering;
use std::time::Duration;

use crate::domain::inference::Tier;

/// How hard a prompt is, estimated from its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Where its models run.
    pub tier: Tier,
    /// Its models' names. Only needed when the request names one.
    pub models: Vec<String>,
    /// How it does.
    pub standing: Standing,
}

/// How a backend does: what decides between those of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Whether its breaker lets no call pass now.
    pub is_shut: bool,
    /// What there is for it to do against what it does at once; from 1 on a request has to wait.
    pub load: f64,
    /// Its usual time to the first token, if it is known.
    pub first_token: Option<Duration>,
}

impl Standing {
    /// Whether a further request would have to wait.
    fn is_full(&self) -> bool {
        self.load >= 1.0
    }

    /// The time to the first token as a power of two of milliseconds, so that backends that are
    /// about as fast are equal.
    fn pace(&self) -> Option<u64> {
        let ms = u64::try_from(self.first_token?.as_millis()).unwrap_or(u64::MAX);
        Some(ms.max(1).checked_next_power_of_two().unwrap_or(u64::MAX))
    }

    /// Who should be asked first: who works, then who has room, then who is fast for how much it has
    /// to do. Of unknown pace one is taken to be as fast as `best`, and so becomes known.
    fn compare(&self, other: &Self, best: u64) -> Ordering {
        #[expect(clippy::cast_precision_loss, reason = "a pace is a power of two")]
        let cost = |it: &Self| match it.is_full() {
            true => it.load,
            false => it.pace().unwrap_or(best) as f64 * (0.25 + it.load),
        };
        let key = |it: &Self| (it.is_shut, it.is_full());
        key(self).cmp(&key(other)).then(cost(self).total_cmp(&cost(other)))
    }
}

/// Of so many requests one pays no heed to speed: often enough to see a change within minutes, and
/// seldom enough not to be felt.
const EXPLORE_EVERY: usize = 16;

/// What to do for a request, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
/// Within a tier those come first that work, have room and are fast; equal ones take turns, by
/// `turn`, which is another number for each request. Now and then speed does not count, so that who
/// was slow can show that it no longer is.
///
/// # Errors
/// When a model is named that no offer has, or none of the tier asked for.
pub fn plan(
    requested: Option<Tier>,
    model: Option<&str>,
    complexity: Complexity,
    offers: &[Offer],
    turn: usize,
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
    let explores = turn % EXPLORE_EVERY == EXPLORE_EVERY - 1;
    let turn = if explores { turn / EXPLORE_EVERY } else { turn };
    let standing = |index: usize| match offers[index].standing {
        known if explores => Standing { first_token: None, ..known },
        known => known,
    };
    order.sort_by(|a, b| {
        let (a, b) = (*a, *b);
        let tier = rank(wanted, offers[a].tier).cmp(&rank(wanted, offers[b].tier));
        let best = best_pace(offers, offers[a].tier);
        tier.then_with(|| standing(a).compare(&standing(b), best))
            .then_with(|| turn_of(offers, a, turn).cmp(&turn_of(offers, b, turn)))
    });
    if requested.is_some() && !offers.iter().any(|offer| offer.tier == wanted) {
        steps.push(Step::Absent(wanted));
    }
    steps.extend(order.into_iter().map(Step::Try));
    Ok(steps)
}

/// Whose turn it is among the offers of one tier: 0 is first.
fn turn_of(offers: &[Offer], index: usize, turn: usize) -> usize {
    let peers = |offers: &[Offer], tier| offers.iter().filter(|it| it.tier == tier).count();
    let tier = offers[index].tier;
    let (before, all) = (peers(&offers[..index], tier), peers(offers, tier));
    (before + all - turn % all) % all
}

/// The pace of the fastest backend of `tier` that is known.
fn best_pace(offers: &[Offer], tier: Tier) -> u64 {
    let of_tier = offers.iter().filter(|offer| offer.tier == tier);
    of_tier.filter_map(|offer| offer.standing.pace()).min().unwrap_or(1)
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
mod tests;
