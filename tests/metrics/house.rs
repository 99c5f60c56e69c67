//! A node whose metrics are watched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bizra_omega::node::{self, Node};
use serde_json::{Value, json};

use crate::live::{self, Client, SECOND};

pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A scrape: the value of every series.
#[derive(Clone, Debug)]
pub(super) struct Scrape(pub(super) BTreeMap<String, f64>);

impl Scrape {
    pub(super) fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Self(samples.map(sample).collect())
    }

    /// The sum over the series that begin with `series` and hold every one of `labels`.
    pub(super) fn sum(&self, series: &str) -> f64 {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: Vec<&str> =
            labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
        let is_meant = |key: &str| {
            let (named, with) = key.split_once('{').unwrap_or((key, ""));
            named == name && labels.iter().all(|label| with.contains(label))
        };
        self.0.iter().filter(|(key, _)| is_meant(key)).map(|(_, value)| value).sum()
    }
}

/// The names of the families of an exposition, by its `TYPE` lines.
pub(super) fn families(text: &str) -> BTreeSet<String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    typed.map(|typed| typed.split_once(' ').unwrap().0.to_owned()).collect()
}

/// The family that a sample of this name belongs to.
pub(super) fn family<'f>(families: &'f BTreeSet<String>, sample: &str) -> Option<&'f str> {
    let suffixes = ["", "_total", "_count", "_sum", "_bucket", "_info"];
    suffixes.iter().find_map(|suffix| families.get(sample.strip_suffix(suffix)?)).map(|it| &**it)
}

pub(super) struct House {
    pub(super) node: Node,
    pub(super) client: Client,
    pub(super) base: String,
    pub(super) http: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl House {
    pub(super) async fn new(change: impl FnOnce(&mut bizra_omega::config::Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = live::config(dir.path());
        change(&mut config);
        let node = node::start(config).await.unwrap();
        let address = format!("127.0.0.1:{}", node.address().port());
        let client = Client::new(&address, dir.path());
        let http = reqwest::Client::builder().no_proxy().timeout(60 * SECOND).build().unwrap();
        Self { node, client, base: format!("http://{address}/api/v1"), http, _dir: dir }
    }

    pub(super) async fn text(&self, accept: &str) -> (String, String) {
        let request = self.http.get(format!("{}/metrics", self.base)).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, response.text().await.unwrap())
    }

    pub(super) async fn scrape(&self) -> Scrape {
        Scrape::read(&self.text(OPEN_METRICS).await.1)
    }

    pub(super) async fn generate(&self, body: Value) -> (u16, Value) {
        self.client.post("/inference/generate", &body).await
    }

    pub(super) async fn drill(&self, actor: &str, kind: &str) {
        let path = format!("/actors/{actor}/stop");
        assert_eq!(self.client.post(&path, &json!({ "kind": kind })).await.0, 200);
    }

    /// Waits until a series is as it should be.
    pub(super) async fn until(&self, series: &str, is_there: impl Fn(f64) -> bool) {
        let reached = async {
            while !is_there(self.scrape().await.sum(series)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(60 * SECOND, reached).await;
        assert!(in_time.is_ok(), "{series}: {}", self.scrape().await.sum(series));
    }
}

/// What was seen to move, and what must.
pub(super) struct Moves<'h> {
    pub(super) house: &'h House,
    pub(super) seen: BTreeSet<String>,
}

impl Moves<'_> {
    /// Does `work` and holds that each of `series` is higher afterwards.
    pub(super) async fn by<T>(&mut self, series: &[&str], work: impl Future<Output = T>) -> T {
        let before = self.house.scrape().await;
        let done = work.await;
        for series in series {
            self.house.until(series, |now| now > before.sum(series)).await;
            self.seen.insert(series.split('{').next().unwrap().to_owned());
        }
        done
    }
}
