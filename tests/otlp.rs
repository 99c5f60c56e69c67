//! Traces, as a collector sees them. Compiled with the feature `otlp` only.
#![cfg(feature = "otlp")]

mod live;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use live::{Process, SECOND};
use serde_json::{Value, json};

const MARK: &str = "zebrafish";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector that keeps what it is sent.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let kept = bodies.clone();
        let take = post(move |body: Bytes| async move { kept.lock().unwrap().push(body) });
        let router = Router::new().route("/v1/traces", take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, bodies }
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().flat_map(|body| spans(body)).collect()
    }
}

/// A span as it was sent.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    nanos: u64,
    attributes: BTreeMap<String, String>,
    service: String,
}

/// A field of a protobuf message: its number, its number if it is one, and its bytes if not.
type Field<'b> = (u64, u64, &'b [u8]);

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (number, raw) = match tag & 7 {
            0 => (varint(&mut bytes), &[][..]),
            kind => {
                let length = match kind {
                    1 => 8,
                    2 => usize::try_from(varint(&mut bytes)).unwrap(),
                    5 => 4,
                    other => panic!("wire type {other}"),
                };
                let (raw, rest) = bytes.split_at(length);
                bytes = rest;
                let fixed =
                    raw.iter().rev().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                (if kind == 1 { fixed } else { 0 }, raw)
            }
        };
        found.push((tag >> 3, number, raw));
    }
    found
}

fn all<'b>(bytes: &'b [u8], number: u64) -> impl Iterator<Item = Field<'b>> {
    fields(bytes).into_iter().filter(move |(found, ..)| *found == number)
}

fn text(bytes: &[u8], number: u64) -> String {
    all(bytes, number).map(|(.., raw)| String::from_utf8(raw.to_vec()).unwrap()).collect()
}

fn hex(bytes: &[u8], number: u64) -> String {
    let raw = all(bytes, number).flat_map(|(.., raw)| raw.to_vec());
    raw.map(|byte| format!("{byte:02x}")).collect()
}

/// Key and value of `KeyValue`s in fields of this number.
fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    let read = |(.., raw): Field<'_>| {
        let value: String = all(raw, 2)
            .flat_map(|(.., any)| {
                let shown = |(kind, value, raw): Field<'_>| match kind {
                    1 => String::from_utf8(raw.to_vec()).unwrap(),
                    3 => value.to_string(),
                    4 => f64::from_bits(value).to_string(),
                    5 => fields(raw).iter().map(|(.., any)| text(any, 1)).collect(),
                    other => format!("kind {other}"),
                };
                fields(any).into_iter().map(shown).collect::<Vec<_>>()
            })
            .collect();
        (text(raw, 1), value)
    };
    all(bytes, number).map(read).collect()
}

/// The spans of an `ExportTraceServiceRequest`.
fn spans(body: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for (.., resource) in all(body, 1) {
        let service: String = all(resource, 1)
            .filter_map(|(.., raw)| attributes(raw, 1).remove("service.name"))
            .collect();
        for (.., scope) in all(resource, 2) {
            for (.., raw) in all(scope, 2) {
                let number = |number| all(raw, number).map(|(_, value, _)| value).next();
                found.push(Span {
                    trace: hex(raw, 1),
                    id: hex(raw, 2),
                    parent: hex(raw, 4),
                    name: text(raw, 5),
                    kind: number(6).unwrap_or_default(),
                    nanos: number(8).unwrap() - number(7).unwrap(),
                    attributes: attributes(raw, 9),
                    service: service.clone(),
                });
            }
        }
    }
    found
}

async fn generate(process: &Process, traceparent: &str, body: &Value) -> u16 {
    let url = format!("http://{}/api/v1/inference/generate", process.address);
    let http = reqwest::Client::builder().no_proxy().timeout(60 * SECOND).build().unwrap();
    let request = http.post(url).header("content-type", "application/json");
    let request = request.header("traceparent", traceparent).body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_request_through_every_actor() {
    let collector = Collector::start().await;
    let dir = tempfile::tempdir().unwrap();
    let environment = [
        ("BIZRA_TELEMETRY__ENDPOINT", collector.url.as_str()),
        ("RUST_LOG", "warn,bizra_omega=info"),
    ];
    let mut process = Process::start_with(dir.path(), &environment).await;
    let body = json!({ "prompt": format!("Once upon a {MARK}"), "system": MARK, "max_tokens": 4 });
    assert_eq!(generate(&process, &format!("00-{TRACE}-{CALLER}-01"), &body).await, 200);
    let streamed = json!({ "prompt": format!("{MARK} was"), "max_tokens": 4, "stream": true });
    assert_eq!(generate(&process, &format!("00-{TRACE}-{CALLER}-1"), &streamed).await, 200);
    assert_eq!(generate(&process, &format!("00-{TRACE}-{CALLER}-00"), &body).await, 200);
    // What waits is sent when the node ends.
    process.terminate();
    assert_eq!(process.ended().await.0, Some(0));

    let spans = collector.spans();
    let named = |name: &str, trace: &str| -> Vec<&Span> {
        spans.iter().filter(|span| span.name == name && span.trace == trace).collect()
    };
    let one = |name: &str| match named(name, TRACE)[..] {
        [span] => span,
        ref found => panic!("{name}: {found:?} of {spans:#?}"),
    };
    let request = one("POST /api/v1/inference/generate");
    assert_eq!((request.parent.as_str(), request.kind), (CALLER, 2));
    assert_eq!(request.attributes["http.request.method"], "POST");
    assert_eq!(request.attributes["http.route"], "/api/v1/inference/generate");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(request.service, "bizra-node");
    let router = one("inference-router generate");
    assert_eq!(router.parent, request.id);
    let attempt = one("chat edge");
    assert_eq!((attempt.parent.as_str(), attempt.kind), (router.id.as_str(), 3));
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "edge"),
        ("gen_ai.request.max_tokens", "4"),
        ("gen_ai.response.finish_reasons", "length"),
        ("gen_ai.usage.output_tokens", "4"),
    ] {
        assert_eq!(attempt.attributes[key], value, "{key}");
    }
    assert!(!attempt.attributes["gen_ai.response.model"].is_empty());
    assert!(attempt.attributes["gen_ai.usage.input_tokens"].parse::<u64>().unwrap() > 3);
    assert!(
        attempt.attributes["gen_ai.response.time_to_first_chunk"].parse::<f64>().unwrap() > 0.0
    );
    assert_eq!(one("edge generate").parent, attempt.id);
    let judged = named("gate-chain check", TRACE);
    assert_eq!(judged.len(), 2);
    assert!(judged.iter().all(|span| span.parent == router.id), "{judged:?}");
    let sealed = one("envelope create");
    assert_eq!((&sealed.parent, &one("envelope issuer").parent), (&router.id, &router.id));
    assert_eq!(one("identity sign").parent, sealed.id);
    assert!(request.nanos >= router.nanos && router.nanos >= attempt.nanos && attempt.nanos > 0);

    // What is not as the standard has it begins a trace, and one that is not kept is not sent.
    let others: Vec<_> =
        spans.iter().filter(|span| span.name == request.name && span.trace != TRACE).collect();
    let [other] = others[..] else { panic!("{others:?}") };
    assert_eq!(other.parent, "");
    let first = named("chat edge", &other.trace);
    assert!(other.nanos >= first[0].nanos, "a streamed answer ends with its last byte");
    for body in collector.bodies.lock().unwrap().iter() {
        let has_text = body.windows(MARK.len()).any(|part| part == MARK.as_bytes());
        assert!(!has_text, "text of a prompt was sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_or_hangs_holds_nobody_up() {
    // It accepts and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}", silent.local_addr().unwrap());
    for url in [hanging.as_str(), "http://127.0.0.1:9"] {
        let dir = tempfile::tempdir().unwrap();
        let mut process =
            Process::start_with(dir.path(), &[("BIZRA_TELEMETRY__ENDPOINT", url)]).await;
        let client = process.client();
        // More spans than may wait.
        for _ in 0..100 {
            let together = (0..40).map(|_| client.get("/actors"));
            for (status, _) in futures_util::future::join_all(together).await {
                assert_eq!(status, 200);
            }
        }
        let began = Instant::now();
        process.terminate();
        assert_eq!(process.ended().await.0, Some(0), "{url}");
        assert!(began.elapsed() < 15 * SECOND, "{url}: {:?}", began.elapsed());
    }
}
