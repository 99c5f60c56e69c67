//! What a drill found, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::show::table;

/// One endpoint that was called all the while.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The endpoint.
    pub name: &'static str,
    /// How long every answer took.
    times: Vec<Duration>,
    /// How often each reason was met.
    failures: BTreeMap<String, u64>,
}

impl Probe {
    /// A probe that has not asked yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new(), failures: BTreeMap::new() }
    }

    /// Counts one request.
    pub fn count(&mut self, took: Duration, failure: Option<String>) {
        self.times.push(took);
        if let Some(reason) = failure {
            *self.failures.entry(reason).or_default() += 1;
        }
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// One actor that was made to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Its name.
    pub actor: String,
    /// How it failed.
    pub kind: &'static str,
    /// Time until another incarnation served; `None` if none did.
    pub recovered: Option<Duration>,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the choice of actors was made from.
    pub seed: u64,
    /// How long the drill took.
    pub elapsed: Duration,
    /// The endpoints that were called.
    pub probes: Vec<Probe>,
    /// The failures.
    pub drills: Vec<Drill>,
    /// Restarts that the node counted; `None` if it could not be asked at the end.
    pub restarts: Option<u64>,
}

/// The drills of one actor and kind.
struct Summary<'a> {
    actor: &'a str,
    kind: &'a str,
    drills: usize,
    times: Vec<Duration>,
}

impl Report {
    /// Whether no request failed, every actor came back and the node was there at the end.
    pub fn is_clean(&self) -> bool {
        self.restarts.is_some()
            && self.probes.iter().all(|probe| probe.failures.is_empty())
            && self.drills.iter().all(|drill| drill.recovered.is_some())
    }

    fn summaries(&self) -> Vec<Summary<'_>> {
        let mut by_kind: BTreeMap<(&str, &str), Summary<'_>> = BTreeMap::new();
        for Drill { actor, kind, recovered } in &self.drills {
            let fresh = Summary { actor, kind, drills: 0, times: Vec::new() };
            let summary = by_kind.entry((actor, kind)).or_insert(fresh);
            summary.drills += 1;
            summary.times.extend(*recovered);
        }
        by_kind.into_values().collect()
    }

    /// As JSON; times are milliseconds.
    pub fn to_json(&self) -> Value {
        let probes: Vec<Value> = self
            .probes
            .iter()
            .map(|probe| {
                json!({
                    "endpoint": probe.name,
                    "requests": probe.times.len(),
                    "failures": probe.failed(),
                    "reasons": probe.failures,
                    "ms": quantiles(&probe.times),
                })
            })
            .collect();
        let drills: Vec<Value> = self
            .summaries()
            .iter()
            .map(|summary| {
                json!({
                    "actor": summary.actor,
                    "kind": summary.kind,
                    "drills": summary.drills,
                    "recovered": summary.times.len(),
                    "recovery_ms": quantiles(&summary.times),
                })
            })
            .collect();
        json!({
            "seed": self.seed,
            "seconds": self.elapsed.as_secs_f64(),
            "clean": self.is_clean(),
            "restarts": self.restarts,
            "probes": probes,
            "drills": drills,
        })
    }

    /// As two tables.
    pub fn to_text(&self) -> String {
        let header = ["REQUESTS TO", "COUNT", "FAILED", "P50", "P99", "MAX", "REASONS"];
        let mut probes = vec![header.map(str::to_owned).to_vec()];
        for probe in &self.probes {
            let reasons = probe.failures.iter().map(|(reason, count)| format!("{reason} {count}"));
            let mut row = vec![probe.name.to_owned()];
            row.extend([probe.times.len().to_string(), probe.failed().to_string()]);
            row.extend(cells(&probe.times));
            row.push(reasons.collect::<Vec<_>>().join(", "));
            probes.push(row);
        }
        let header = ["ACTOR", "KIND", "DRILLS", "RECOVERED", "P50", "P99", "MAX"];
        let mut drills = vec![header.map(str::to_owned).to_vec()];
        for summary in self.summaries() {
            let mut row = vec![summary.actor.to_owned(), summary.kind.to_owned()];
            row.extend([summary.drills.to_string(), summary.times.len().to_string()]);
            row.extend(cells(&summary.times));
            drills.push(row);
        }
        let mut text = format!("{}\n{}\n", table(&probes), table(&drills));
        let restarts = match self.restarts {
            Some(restarts) => format!("{restarts} restarts counted"),
            None => "the node did not answer at the end".to_owned(),
        };
        let _ = writeln!(
            text,
            "{} failures made, {restarts}, in {:.1} s (seed {})",
            self.drills.len(),
            self.elapsed.as_secs_f64(),
            self.seed
        );
        text
    }
}

/// The value that `percent` of all are at or below (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Median, 99th percentile and maximum.
fn summary(times: &[Duration]) -> [Option<Duration>; 3] {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    [50, 99, 100].map(|percent| percentile(&sorted, percent))
}

fn quantiles(times: &[Duration]) -> Value {
    // To the microsecond: further digits are noise.
    let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
    let [p50, p99, max] = summary(times).map(|time| time.map(ms));
    json!({ "p50": p50, "p99": p99, "max": max })
}

fn cells(times: &[Duration]) -> [String; 3] {
    let cell = |time: Duration| format!("{:.1}ms", time.as_secs_f64() * 1000.0);
    summary(times).map(|time| time.map(cell).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn report(failure: Option<&str>, recovered: Option<Duration>) -> Report {
        let mut probe = Probe::new("health");
        probe.count(ms(3), None);
        probe.count(ms(1), failure.map(str::to_owned));
        let drill = |recovered| Drill { actor: "identity".to_owned(), kind: "kill", recovered };
        Report {
            seed: 7,
            elapsed: ms(1500),
            probes: vec![probe],
            drills: vec![drill(recovered), drill(Some(ms(4)))],
            restarts: Some(2),
        }
    }

    #[test]
    fn the_nearest_rank_is_a_value_that_was_seen() {
        let times: Vec<Duration> = (1..=200).map(ms).collect();
        assert_eq!(summary(&times), [Some(ms(100)), Some(ms(198)), Some(ms(200))]);
        assert_eq!(summary(&[ms(5)]), [Some(ms(5)); 3]);
        assert_eq!(summary(&[]), [None; 3]);
    }

    #[test]
    fn a_drill_is_clean_if_nobody_noticed_and_all_came_back() {
        assert!(report(None, Some(ms(2))).is_clean());
        assert!(!report(Some("DOWN"), Some(ms(2))).is_clean());
        assert!(!report(None, None).is_clean());
        let gone = Report { restarts: None, ..report(None, Some(ms(2))) };
        assert!(!gone.is_clean());
        assert!(gone.to_text().contains("made, the node did not answer at the end, in"));
        assert_eq!(gone.to_json()["restarts"], Value::Null);
    }

    #[test]
    fn the_table_holds_what_was_counted() {
        let expected = "\
REQUESTS TO  COUNT  FAILED  P50    P99    MAX    REASONS
health       2      1       1.0ms  3.0ms  3.0ms  DOWN 1

ACTOR     KIND  DRILLS  RECOVERED  P50    P99    MAX
identity  kill  2       1          4.0ms  4.0ms  4.0ms

2 failures made, 2 restarts counted, in 1.5 s (seed 7)
";
        assert_eq!(report(Some("DOWN"), None).to_text(), expected);
    }

    #[test]
    fn the_json_holds_the_same() {
        let json = report(Some("DOWN"), None).to_json();
        assert_eq!(json["clean"], false);
        assert_eq!(json["probes"][0]["reasons"], json!({ "DOWN": 1 }));
        assert_eq!(json["drills"][0]["recovery_ms"]["max"], 4.0);
        assert_eq!(
            (&json["drills"][0]["drills"], &json["drills"][0]["recovered"]),
            (&json!(2), &json!(1))
        );
    }
}
