//! Chooses the next token from a model's logits.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::domain::inference::Sampling;

/// Chooses tokens; the same seed chooses the same tokens from the same logits.
#[derive(Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    random: StdRng,
}

impl Sampler {
    /// A sampler. `seed` is used if `sampling` has none; at temperature 0 neither matters.
    #[must_use]
    pub fn new(sampling: &Sampling, seed: u64) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p.unwrap_or(1.0),
            random: StdRng::seed_from_u64(sampling.seed.unwrap_or(seed)),
        }
    }

    /// The next token; `None` if a logit is not a number or none is finite, which only a broken
    /// model makes.
    ///
    /// At temperature 0 it is the most likely token, of equals the one with the lowest id.
    pub fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let (best, top) = highest(logits)?;
        if self.temperature <= 0.0 {
            return Some(best);
        }
        // Relative to the highest, so that no exponential overflows. A temperature close to zero
        // gives the best 1 and the others 0.
        let weight = |logit: f32| (f64::from(logit - top) / self.temperature).exp();
        let mut weights: Vec<(u32, f64)> =
            (0..).zip(logits).map(|(token, &logit)| (token, weight(logit))).collect();
        let mut sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        if self.top_p < 1.0 {
            // Tokens below this weigh less than the rest of the mass together, so they are outside
            // the nucleus, and few are left to sort.
            let least = (1.0 - self.top_p) * sum / weights.len() as f64;
            weights.retain(|(_, weight)| *weight >= least);
            sum = keep_nucleus(&mut weights, self.top_p * sum);
        }
        let mut left = self.random.random::<f64>() * sum;
        for &(token, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return Some(token);
            }
        }
        // Rounding can leave a remainder; the best is always in the nucleus.
        Some(best)
    }
}

/// The highest logit and the lowest token that has it.
fn highest(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((token, logit));
        }
    }
    best.filter(|(_, top)| top.is_finite())
}

/// Keeps the fewest tokens whose weights reach `mass` (nucleus sampling, Holtzman et al., 2020),
/// the heaviest first, of equals the lowest id; returns their sum.
fn keep_nucleus(weights: &mut Vec<(u32, f64)>, mass: f64) -> f64 {
    weights.sort_unstable_by(|(a_token, a), (b_token, b)| {
        b.total_cmp(a).then_with(|| a_token.cmp(b_token))
    });
    let mut sum = 0.0;
    let mut kept = 0;
    for (_, weight) in weights.iter() {
        sum += weight;
        kept += 1;
        if sum >= mass {
            break;
        }
    }
    weights.truncate(kept);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sampler(temperature: f64, top_p: Option<f64>, seed: u64) -> Sampler {
        Sampler::new(&Sampling { temperature, top_p, seed: Some(seed) }, 0)
    }

    fn counts(mut sampler: Sampler, logits: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.choose(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn temperature_zero_takes_the_lowest_of_the_best() {
        assert_eq!(sampler(0.0, None, 1).choose(&[0.5, 2.0, -1.0, 2.0]), Some(1));
    }

    #[test]
    fn logits_that_are_no_numbers_choose_nothing() {
        for temperature in [0.0, 1.0] {
            let mut sampler = sampler(temperature, None, 1);
            assert_eq!(sampler.choose(&[0.0, f32::NAN]), None);
            assert_eq!(sampler.choose(&[f32::NEG_INFINITY; 3]), None);
            assert_eq!(sampler.choose(&[0.0, f32::INFINITY]), None);
            assert_eq!(sampler.choose(&[]), None);
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_logits_say() {
        // e^0 : e^ln(3) = 1 : 3.
        let counts = counts(sampler(1.0, None, 7), &[0.0, 3.0_f32.ln(), f32::NEG_INFINITY]);
        assert!((2850..3150).contains(&counts[1]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn a_higher_temperature_flattens() {
        // At temperature 2 the square root of 1 : 9.
        let counts = counts(sampler(2.0, None, 7), &[0.0, 9.0_f32.ln()]);
        assert!((2850..3150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_its_mass() {
        let logits = [0.1_f32.ln(), 0.5_f32.ln(), 0.4_f32.ln()];
        let counts_at = |top_p| counts(sampler(1.0, Some(top_p), 7), &logits);
        assert_eq!(counts_at(0.45)[1], 4000);
        assert_eq!(counts_at(0.8)[0], 0);
        assert!(counts_at(0.8)[2] > 1500);
        assert!(counts_at(0.95)[0] > 200);
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        let logits = [0.0; 50];
        let run = |seed| {
            let mut sampler = sampler(1.0, None, seed);
            (0..20).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn the_seed_of_the_caller_counts_only_without_one() {
        let logits = [0.0; 50];
        let run = |own, seed| {
            let sampling = Sampling { temperature: 1.0, top_p: None, seed: own };
            let mut sampler = Sampler::new(&sampling, seed);
            (0..20).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(Some(3), 1), run(Some(3), 2));
        assert_eq!(run(None, 3), run(Some(3), 0));
    }

    proptest! {
        #[test]
        fn a_choice_is_always_a_token_with_weight(
            logits in prop::collection::vec(-1e30f32..1e30, 1..40),
            temperature in 1e-9f64..2.0,
            top_p in 1e-9f64..=1.0,
            seed: u64,
        ) {
            let token = sampler(temperature, Some(top_p), seed).choose(&logits);
            prop_assert!(token.is_some_and(|token| (token as usize) < logits.len()));
        }
    }
}
