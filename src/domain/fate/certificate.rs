//! What a decision leaves behind.

use serde_json::{Map, Value, json};

use crate::domain::constitution::document::Comparator;
use crate::domain::fate::{DECIDER, Predicate, VERSION, one_if};
use crate::domain::score::Score;

/// How many comparisons there are in a decision; all are made, whatever the first ones say.
pub const INEQUALITIES: usize = 13;

/// One comparison with both its sides. A side is `None` when the input it takes is missing; then
/// the comparison does not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inequality {
    /// The predicate it belongs to.
    pub predicate: Predicate,
    /// What is compared.
    pub name: &'static str,
    /// The value. Statements are 1 if true and 0 if not.
    pub left: Option<f64>,
    /// How.
    pub comparator: Comparator,
    /// The bound.
    pub right: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}

/// Every comparison of a decision, and the inputs that were missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    inequalities: Vec<Inequality>,
    missing: Vec<&'static str>,
}

impl Certificate {
    pub(super) fn open() -> Self {
        Self { inequalities: Vec::with_capacity(INEQUALITIES), missing: Vec::new() }
    }

    /// Notes an input that is missing.
    pub(super) fn bind<T>(&mut self, input: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing.push(input);
        }
        value
    }

    pub(super) fn push(&mut self, inequality: Inequality) {
        self.inequalities.push(inequality);
    }

    /// Adds a statement that must be true.
    pub(super) fn state(
        &mut self,
        predicate: Predicate,
        name: &'static str,
        statement: Option<bool>,
    ) {
        self.push(Inequality {
            predicate,
            name,
            left: statement.map(one_if),
            comparator: Comparator::AtLeast,
            right: Some(1.0),
            holds: statement == Some(true),
        });
    }

    /// Adds a comparison of two scores to the ethics.
    pub(super) fn compare_scores(
        &mut self,
        name: &'static str,
        left: Option<Score>,
        comparator: Comparator,
        right: Option<Score>,
    ) {
        self.push(Inequality {
            predicate: Predicate::Ethics,
            name,
            left: left.map(Score::value),
            comparator,
            right: right.map(Score::value),
            holds: left.zip(right).is_some_and(|(left, right)| comparator.holds(left, right)),
        });
    }

    /// Whether everything holds and nothing is missing. A certificate that lists nothing does not.
    pub fn holds(&self) -> bool {
        !self.inequalities.is_empty()
            && self.missing.is_empty()
            && self.inequalities.iter().all(|inequality| inequality.holds)
    }

    /// Whether a predicate holds.
    pub fn predicate_holds(&self, predicate: Predicate) -> bool {
        let mut own = self.inequalities.iter().filter(|one| one.predicate == predicate).peekable();
        own.peek().is_some() && own.all(|inequality| inequality.holds)
    }

    /// Every comparison, in order.
    pub fn inequalities(&self) -> &[Inequality] {
        &self.inequalities
    }

    /// The inputs that were missing, by name, in order.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// Why it does not hold: what is missing, or the first comparison that fails. `None` if it
    /// holds.
    pub fn reason(&self) -> Option<String> {
        if self.holds() {
            return None;
        }
        if !self.missing.is_empty() {
            return Some(format!("missing: {}", self.missing.join(", ")));
        }
        let failed = self.inequalities.iter().find(|inequality| !inequality.holds);
        Some(failed.map_or_else(|| "nothing was compared".to_owned(), |one| one.to_text()))
    }

    /// The certificate as it is signed.
    pub fn to_json(&self) -> Value {
        let predicates: Map<String, Value> = Predicate::ALL
            .into_iter()
            .map(|predicate| {
                (predicate.as_str().to_owned(), self.predicate_holds(predicate).into())
            })
            .collect();
        let inequalities: Vec<Value> = self.inequalities.iter().map(|one| one.to_json()).collect();
        json!({
            "decider": DECIDER,
            "version": VERSION,
            "holds": self.holds(),
            "predicates": predicates,
            "inequalities": inequalities,
            "missing": self.missing,
        })
    }
}

impl Inequality {
    fn to_text(self) -> String {
        let side = |side: Option<f64>| side.map_or("nothing".to_owned(), |side| side.to_string());
        let (left, right) = (side(self.left), side(self.right));
        let (predicate, comparator) = (self.predicate.as_str(), self.comparator.as_str());
        format!("{predicate}: {} is {left}, not {comparator} {right}", self.name)
    }

    fn to_json(self) -> Value {
        json!({
            "predicate": self.predicate.as_str(),
            "name": self.name,
            "left": self.left,
            "comparator": self.comparator.as_str(),
            "right": self.right,
            "holds": self.holds,
        })
    }
}
