//! Pass rates of the scorer over prose and over what only looks like it.

use std::fmt::Write as _;

use bizra_omega::domain::snr::words::{hash_of, mix};
use bizra_omega::domain::snr::{Unmeasured, measure};

/// The constitution's threshold.
pub(crate) const THRESHOLD: f64 = 0.85;

/// Words of the salad, and letters that each has at least.
const SALAD_WORDS: usize = 40;
const SALAD_LETTERS: usize = 8;

/// What is made of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The paragraph itself.
    Prose,
    /// Words of the same lengths, of letters drawn evenly from a to z.
    RandomLetters,
    /// Distinct long words, drawn from all paragraphs.
    Salad,
    /// Its first sentence, eight times.
    Repeated,
    /// Its words in any order, with the marks that stick to them.
    Shuffled,
    /// The same in small letters without marks.
    Bare,
    /// Its words in reverse order.
    Reversed,
}

/// Every class, with its name and the share that may pass at most; prose has a least share.
pub(crate) const CLASSES: [(Class, &str, Option<f64>); 7] = [
    (Class::Prose, "prose", None),
    (Class::RandomLetters, "random letters", Some(0.0)),
    (Class::Salad, "40 distinct long words", Some(0.0)),
    (Class::Repeated, "one sentence x 8", Some(0.0)),
    (Class::Shuffled, "words shuffled", Some(0.25)),
    (Class::Bare, "shuffled, no marks", Some(0.25)),
    (Class::Reversed, "words reversed", Some(0.25)),
];

/// Least share of prose that passes.
pub(crate) const PROSE_MIN: f64 = 0.95;

/// SplitMix64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Outcomes of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) texts: usize,
    pub(crate) passed: usize,
    pub(crate) abstained: usize,
}

impl Outcome {
    pub(crate) fn share(&self) -> f64 {
        if self.texts == 0 { 0.0 } else { self.passed as f64 / self.texts as f64 }
    }
}

/// The distinct long words of all paragraphs, sorted.
fn long_words(paragraphs: &[String]) -> Vec<String> {
    let mut found: Vec<String> = paragraphs
        .iter()
        .flat_map(|text| text.split_whitespace())
        .map(|word| word.trim_matches(|c: char| !c.is_alphabetic()))
        .filter(|word| word.len() >= SALAD_LETTERS && word.bytes().all(|b| b.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The text of a class that is made of a paragraph; `None` where it does not lend itself.
fn made(class: Class, text: &str, long: &[String], seed: u64) -> Option<String> {
    let mut random = Random(seed ^ hash_of(&text.to_ascii_lowercase()) ^ class as u64);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    match class {
        Class::Prose => Some(text.to_owned()),
        Class::RandomLetters => {
            let mut out = String::new();
            for word in words {
                for _ in 0..word.chars().count().min(12) {
                    out.push(char::from(b'a' + random.below(26) as u8));
                }
                out.push(' ');
            }
            Some(out)
        }
        Class::Salad => {
            let mut left: Vec<&String> = long.iter().collect();
            let mut out = Vec::new();
            while out.len() < SALAD_WORDS && !left.is_empty() {
                out.push(left.swap_remove(random.below(left.len())).as_str());
            }
            (out.len() == SALAD_WORDS).then(|| out.join(" "))
        }
        Class::Repeated => {
            let end = text.find(". ").map_or(text.len(), |at| at + 1);
            let sentence = &text[..end];
            let words = sentence.split_whitespace().count();
            (5..=60).contains(&words).then(|| [sentence; 8].join(" "))
        }
        Class::Shuffled | Class::Bare => {
            for at in (1..words.len()).rev() {
                words.swap(at, random.below(at + 1));
            }
            let text = words.join(" ");
            let is_kept = |c: &char| c.is_alphanumeric() || " -'/_".contains(*c);
            let bare = || text.to_lowercase().chars().filter(is_kept).collect();
            Some(if class == Class::Bare { bare() } else { text.clone() })
        }
        Class::Reversed => {
            words.reverse();
            Some(words.join(" "))
        }
    }
}

/// One measured text.
pub(crate) struct Row {
    pub(crate) class: Class,
    pub(crate) text: String,
    pub(crate) score: Result<bizra_omega::domain::snr::Snr, Unmeasured>,
}

/// Measures every class of every paragraph.
pub(crate) fn run(paragraphs: &[String], seed: u64, mut see: impl FnMut(&Row)) -> Vec<Outcome> {
    let long = long_words(paragraphs);
    let mut outcomes = vec![Outcome::default(); CLASSES.len()];
    for paragraph in paragraphs {
        for ((class, _, _), outcome) in CLASSES.iter().zip(&mut outcomes) {
            let Some(text) = made(*class, paragraph, &long, seed) else { continue };
            let score = measure(&text, &[], &mut || false);
            outcome.texts += 1;
            match &score {
                Ok(snr) => outcome.passed += usize::from(snr.score.value() >= THRESHOLD),
                Err(_) => outcome.abstained += 1,
            }
            see(&Row { class: *class, text, score });
        }
    }
    outcomes
}

/// The table, and whether the floor is met.
pub(crate) fn table(outcomes: &[Outcome]) -> (String, bool) {
    let mut out = format!(
        "{:<24} {:>7} {:>9} {:>9} {:>8}  floor\n",
        "class", "texts", "passed", "abstained", "rate"
    );
    let mut is_met = true;
    for ((_, name, most), outcome) in CLASSES.iter().zip(outcomes) {
        let (is_good, floor) = match most {
            None => (outcome.share() >= PROSE_MIN, format!(">= {:.0} %", PROSE_MIN * 100.0)),
            Some(most) => (outcome.share() <= *most, format!("<= {:.0} %", most * 100.0)),
        };
        is_met &= is_good && outcome.texts > 0;
        let _ = writeln!(
            out,
            "{name:<24} {:>7} {:>9} {:>9} {:>6.2} %  {floor}{}",
            outcome.texts,
            outcome.passed,
            outcome.abstained,
            outcome.share() * 100.0,
            if is_good { "" } else { "  NOT MET" }
        );
    }
    (out, is_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose() -> Vec<String> {
        let text = include_str!("../../../src/domain/snr/prose.txt");
        text.split("\n\n").map(|text| text.trim().to_owned()).collect()
    }

    #[test]
    fn the_floor_is_met_and_repeats() {
        let (table_once, is_met) = table(&run(&prose(), 1, |_| {}));
        assert!(is_met, "{table_once}");
        assert_eq!(table(&run(&prose(), 1, |_| {})).0, table_once);
    }

    #[test]
    fn a_missed_floor_is_told() {
        let noise: Vec<String> =
            prose().iter().filter_map(|text| made(Class::RandomLetters, text, &[], 1)).collect();
        let (table, is_met) = table(&run(&noise, 1, |_| {}));
        assert!(!is_met);
        assert!(table.contains("NOT MET"), "{table}");
        assert!(!super::table(&run(&[], 1, |_| {})).1, "nothing measured is no success");
    }

    #[test]
    fn made_texts_are_what_they_are_called() {
        let all = prose();
        let long = long_words(&all);
        let of = |class| made(class, &all[0], &long, 1).unwrap();
        let words = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(words(&of(Class::Shuffled)), words(&all[0]));
        assert_eq!(words(&of(Class::Reversed)), words(&all[0]));
        assert_ne!(of(Class::Shuffled), all[0]);
        let mut salad = words(&of(Class::Salad));
        salad.dedup();
        assert_eq!(salad.len(), SALAD_WORDS);
        assert_eq!(of(Class::Repeated).matches("A node keeps").count(), 8);
        assert_eq!(words(&of(Class::RandomLetters)).len(), words(&all[0]).len());
    }
}
