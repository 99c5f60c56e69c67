//! One line for each work.

use std::fmt;

use crate::load::Measured;
use crate::work::Work;

pub(crate) const HEAD: &str = "\
                            node                        bare                       rate    p99
work                         req/s     p50     p99      req/s     p50     p99     ratio  ratio  goals";

/// How much longer than the bare server's the slowest hundredth may take.
const P99_RATIO_MAX: f64 = 2.0;

/// Medians of the loads of one work.
pub(crate) struct Row {
    name: &'static str,
    ours: Measured,
    theirs: Measured,
    share_min: Option<f64>,
}

impl Row {
    pub(crate) fn new(work: &Work, ours: &[Measured], theirs: &[Measured]) -> Self {
        let (ours, theirs) = (median(ours), median(theirs));
        Self { name: work.name, ours, theirs, share_min: work.share_min }
    }
}

fn median(all: &[Measured]) -> Measured {
    Measured {
        rate: middle(all, |it| it.rate),
        p50_ms: middle(all, |it| it.p50_ms),
        p99_ms: middle(all, |it| it.p99_ms),
    }
}

/// The median of one figure.
pub(crate) fn middle<T>(all: &[T], of: fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ours, theirs, share_min } = self;
        let (share, slower) = (ours.rate / theirs.rate, ours.p99_ms / theirs.p99_ms);
        write!(f, "{name:<24}")?;
        for it in [ours, theirs] {
            write!(f, " {:>9.0} {:>7.3} {:>7.3} ", it.rate, it.p50_ms, it.p99_ms)?;
        }
        write!(f, "   {share:>5.2}  {slower:>5.2}")?;
        let said = |is_met: bool| if is_met { "met" } else { "MISSED" };
        if let Some(least) = share_min {
            write!(f, "  rate >= {least:.2} {}", said(share >= *least))?;
            write!(f, ", p99 <= {P99_RATIO_MAX} {}", said(slower <= P99_RATIO_MAX))?;
        }
        Ok(())
    }
}
