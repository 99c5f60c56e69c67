//! Vectors in a byte a number, and how far a product of such vectors can be from the true one.
//!
//! A vector x of length 1 is kept as whole numbers c and a scale s, so that x = s c + e. With a probe
//! q = t p + f in the same way, |q.x - s t (p.c)| is at most |e| + |f| (1 + |e|), by the inequality of
//! Cauchy and Schwarz. Both lengths are measured, so the bound is no guess, and whoever keeps every
//! vector that it allows among the best loses none of them.

/// Rows of codes are filled up with zeros to a multiple of this, so that no row has a rest.
pub(super) const LANES: usize = 32;

/// The first numbers of a row, which tell most rows from a near duplicate.
pub(super) const HEAD: usize = 64;

/// What rounding in single precision adds to a product of vectors of length 1, with room to spare.
pub(super) const ROUNDING: f32 = 1e-5;

/// What belongs to one row of codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// What a code of 1 means.
    pub(super) scale: f32,
    /// The length of what the codes leave out.
    pub(super) error: f32,
    /// The squared length of the first [`HEAD`] numbers, as the codes say.
    pub(super) head: f32,
}

/// The length of a row of codes of this dimension.
pub(super) const fn width(dimension: usize) -> usize {
    dimension.next_multiple_of(LANES)
}

/// Appends the codes of a vector of length 1 to `codes`, as a row.
#[expect(clippy::cast_possible_truncation, reason = "-127 to 127")]
pub(super) fn encode(unit: &[f32], codes: &mut Vec<i8>) -> Mark {
    let largest = unit.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let scale = largest / 127.0;
    let start = codes.len();
    codes.extend(unit.iter().map(|number| libm::roundf(number / scale) as i8));
    codes.resize(start + width(unit.len()), 0);
    let row = &codes[start..];
    let left = unit.iter().zip(row).map(|(number, code)| number - scale * f32::from(*code));
    let head = row.iter().take(HEAD).map(|code| (scale * f32::from(*code)).powi(2)).sum();
    Mark { scale, error: length(left), head }
}

/// A vector to compare rows with. Its codes are as fine as sums of products fit into 32 bits.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) codes: Vec<i16>,
    scale: f32,
    error: f32,
    head: f32,
}

impl Probe {
    /// Of a vector of length 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "whole numbers below 2^15"
    )]
    pub(super) fn new(unit: &[f32]) -> Self {
        let width = width(unit.len());
        let finest = (i32::MAX as usize / (127 * width.max(1))).min(i16::MAX as usize);
        let largest = unit.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let scale = largest / finest as f32;
        let mut codes: Vec<i16> =
            unit.iter().map(|number| libm::roundf(number / scale) as i16).collect();
        codes.resize(width, 0);
        let left = unit.iter().zip(&codes).map(|(number, code)| number - scale * f32::from(*code));
        let error = length(left);
        let head = unit.iter().take(HEAD).map(|number| number * number).sum();
        Self { codes, scale, error, head }
    }

    /// The product with a row, from that of the codes.
    #[expect(clippy::cast_precision_loss, reason = "the bound has room for it")]
    pub(super) fn product(&self, codes: i32, mark: &Mark) -> f32 {
        self.scale * mark.scale * codes as f32
    }

    /// How far [`Probe::product`] can be from the true product.
    pub(super) fn slack(&self, mark: &Mark) -> f32 {
        mark.error + self.error * (1.0 + mark.error) + ROUNDING
    }

    /// Whether a row can be as near as `distance`, by its first numbers alone: the way between two
    /// vectors is at least the way between their beginnings.
    pub(super) fn can_be_within(&self, distance: f32, head_codes: i32, mark: &Mark) -> bool {
        let squared = self.head + mark.head - 2.0 * self.product(head_codes, mark);
        let reach = distance + self.slack(mark);
        squared <= reach * reach + ROUNDING
    }
}

/// The product of two rows of codes.
#[inline(always)]
pub(super) fn dot_codes(row: &[i8], probe: &[i16]) -> i32 {
    let mut sum = 0;
    for (code, other) in row.iter().zip(probe) {
        sum += i32::from(*code) * i32::from(*other);
    }
    sum
}

/// The product of two vectors, summed in one order whatever the processor.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const PARTS: usize = 16;
    let mut sums = [0.0_f32; PARTS];
    let (a_parts, b_parts) = (a.chunks_exact(PARTS), b.chunks_exact(PARTS));
    let rest = a_parts.remainder().iter().zip(b_parts.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn length(numbers: impl Iterator<Item = f32>) -> f32 {
    let squares: f64 = numbers.map(|number| f64::from(number) * f64::from(number)).sum();
    #[expect(clippy::cast_possible_truncation, reason = "rounding is in the bound")]
    let length = libm::sqrt(squares) as f32;
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(numbers: &[f32]) -> Option<Vec<f32>> {
        let length = length(numbers.iter().copied());
        (length > 1e-3).then(|| numbers.iter().map(|number| number / length).collect())
    }

    proptest! {
        #[test]
        fn the_bound_holds(
            (a, b) in (1_usize..300).prop_flat_map(|len| {
                let numbers = || proptest::collection::vec(-1.0_f32..1.0, len);
                (numbers(), numbers())
            })
        ) {
            let (Some(a), Some(b)) = (unit(&a), unit(&b)) else { return Ok(()) };
            let mut codes = Vec::new();
            let mark = encode(&a, &mut codes);
            let probe = Probe::new(&b);
            let found = probe.product(dot_codes(&codes, &probe.codes), &mark);
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(found) - exact).abs() <= f64::from(probe.slack(&mark)));
            prop_assert!((f64::from(dot(&a, &b)) - exact).abs() <= f64::from(ROUNDING));
            // However near they are, the head does not hide it.
            let apart = libm::sqrt((2.0 - 2.0 * exact).max(0.0)) as f32;
            let head = dot_codes(&codes[..codes.len().min(HEAD)], &probe.codes);
            prop_assert!(probe.can_be_within(apart, head, &mark));
        }
    }

    #[test]
    fn the_longest_row_of_the_largest_numbers_does_not_overflow() {
        for dimension in [1, 31, 384, 4096] {
            let numbers = vec![1.0; dimension];
            let unit = unit(&numbers).unwrap();
            let mut codes = Vec::new();
            let mark = encode(&unit, &mut codes);
            let probe = Probe::new(&unit);
            let product = probe.product(dot_codes(&codes, &probe.codes), &mark);
            assert!((product - 1.0).abs() <= probe.slack(&mark), "{dimension}: {product}");
        }
    }
}
