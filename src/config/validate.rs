//! What every value may be.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::{Config, ModelServer, Patterns};

/// A value that may not be: its key and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) key: String,
    pub(super) reason: String,
}

fn bad(key: impl Into<String>, reason: impl Into<String>) -> Bad {
    Bad { key: key.into(), reason: reason.into() }
}

/// A day: longer waits are mistakes in the unit.
const SECONDS_MAX: u64 = 86_400;
/// An hour, for the same reason.
const MS_MAX: u64 = 3_600_000;

pub(super) fn validate(config: &Config) -> Result<(), Bad> {
    http(config)?;
    ws(config)?;
    supervisor(config)?;
    inference(config)?;
    telemetry(config)?;
    within("preferences.subjects_max", config.preferences.subjects_max, 1..=1_000_000)?;
    within("preferences.custom_max", config.preferences.custom_max, 0..=1024)?;
    patterns(config)?;
    within("store.free_bytes_min", config.store.free_bytes_min, 0..=1 << 50)?;
    if config.node.data_dir.as_os_str().is_empty() {
        return Err(bad("node.data_dir", "is empty"));
    }
    Ok(())
}

fn http(config: &Config) -> Result<(), Bad> {
    let http = &config.http;
    within("http.body_bytes_max", http.body_bytes_max, 1024..=64 << 20)?;
    within("http.connections_max", http.connections_max, 1..=65_536)?;
    let per_client = http.connections_per_client_max;
    within("http.connections_per_client_max", per_client, 1..=65_536)?;
    within("http.requests_max", http.requests_max, 1..=65_536)?;
    let drain_max = config.supervisor.shutdown_seconds.saturating_sub(1);
    within("http.drain_seconds", http.drain_seconds, 0..=drain_max)?;
    within("http.rate.burst_seconds", http.rate.burst_seconds, 1..=3600)?;
    for (key, per_second) in [
        ("http.rate.open_per_second", http.rate.open_per_second),
        ("http.rate.read_per_second", http.rate.read_per_second),
        ("http.rate.act_per_second", http.rate.act_per_second),
        ("http.rate.privileged_per_second", http.rate.privileged_per_second),
        ("http.rate.bad_tokens_per_minute", http.rate.bad_tokens_per_minute),
    ] {
        within(key, per_second, 0..=1_000_000)?;
    }
    within("http.header_seconds", http.header_seconds, 1..=SECONDS_MAX)?;
    within("http.idle_seconds", http.idle_seconds, 1..=SECONDS_MAX)?;
    within("http.request_seconds", http.request_seconds, 1..=SECONDS_MAX)?;
    within("http.generate_seconds", http.generate_seconds, 1..=SECONDS_MAX)?;
    for host in &http.hosts {
        if !is_host(host) {
            return Err(bad("http.hosts", format!("{host:?} is not a host name without a port")));
        }
    }
    for origin in &http.origins {
        if !is_origin(origin) {
            let reason = format!("{origin:?} is not an origin such as \"https://example.org\"");
            return Err(bad("http.origins", reason));
        }
    }
    Ok(())
}

fn ws(config: &Config) -> Result<(), Bad> {
    let ws = &config.ws;
    within("ws.sockets_max", ws.sockets_max, 1..=65_536)?;
    within("ws.sockets_per_client_max", ws.sockets_per_client_max, 1..=65_536)?;
    within("ws.message_bytes_max", ws.message_bytes_max, 1024..=16 << 20)?;
    within("ws.subscriptions_max", ws.subscriptions_max, 1..=64)?;
    within("ws.calls_max", ws.calls_max, 1..=1024)?;
    within("ws.generations_max", ws.generations_max, 1..=1024)?;
    within("ws.queue_frames_max", ws.queue_frames_max, 1..=65_536)?;
    within("ws.send_seconds", ws.send_seconds, 1..=SECONDS_MAX)?;
    within("ws.ping_seconds", ws.ping_seconds, 1..=SECONDS_MAX)?;
    within("ws.silent_seconds", ws.silent_seconds, 1..=SECONDS_MAX)?;
    if ws.silent_seconds <= ws.ping_seconds {
        let reason = format!(
            "is {}, so that no answer to a ping could come in time: ping_seconds is {}",
            ws.silent_seconds, ws.ping_seconds
        );
        return Err(bad("ws.silent_seconds", reason));
    }
    Ok(())
}

fn patterns(config: &Config) -> Result<(), Bad> {
    let patterns = &config.patterns;
    // Each takes kilobytes of memory.
    let patterns_range = 1..=10_000_000;
    within("patterns.patterns_max", patterns.patterns_max, patterns_range.clone())?;
    within("patterns.source_patterns_max", patterns.source_patterns_max, patterns_range)?;
    let bytes_range = 1 << 20..=1 << 40;
    within("patterns.bytes_max", patterns.bytes_max, bytes_range.clone())?;
    within("patterns.source_bytes_max", patterns.source_bytes_max, bytes_range)?;
    within("patterns.approximate_above", patterns.approximate_above, 1..=10_000_000)?;
    let is_set = patterns.approximate_above != Patterns::default().approximate_above;
    if is_set && !cfg!(feature = "usearch") {
        let reason =
            "is set, and this build has no approximate index; build it with --features usearch";
        return Err(bad("patterns.approximate_above", reason));
    }
    Ok(())
}

fn supervisor(config: &Config) -> Result<(), Bad> {
    let rules = &config.supervisor;
    within("supervisor.max_restarts", rules.max_restarts, 0..=1_000_000)?;
    within("supervisor.within_seconds", rules.within_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.group_max_restarts", rules.group_max_restarts, 0..=1_000_000)?;
    within("supervisor.group_within_seconds", rules.group_within_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.backoff_min_ms", rules.backoff_min_ms, 1..=MS_MAX)?;
    within("supervisor.backoff_max_ms", rules.backoff_max_ms, 1..=MS_MAX)?;
    if rules.backoff_max_ms < rules.backoff_min_ms {
        let reason = format!(
            "is {}, less than backoff_min_ms {}",
            rules.backoff_max_ms, rules.backoff_min_ms
        );
        return Err(bad("supervisor.backoff_max_ms", reason));
    }
    within("supervisor.stable_seconds", rules.stable_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.retry_seconds", rules.retry_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.heartbeat_ms", rules.heartbeat_ms, 10..=MS_MAX)?;
    within("supervisor.heartbeat_deadline_ms", rules.heartbeat_deadline_ms, 10..=MS_MAX)?;
    within("supervisor.start_seconds", rules.start_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.stop_seconds", rules.stop_seconds, 1..=SECONDS_MAX)?;
    within("supervisor.shutdown_seconds", rules.shutdown_seconds, 1..=SECONDS_MAX)?;
    for (name, limits) in &rules.actors {
        let key = |key: &str| format!("supervisor.actors.{name}.{key}");
        if let Some(max_restarts) = limits.max_restarts {
            within(key("max_restarts"), max_restarts, 0..=1_000_000)?;
        }
        if let Some(within_seconds) = limits.within_seconds {
            within(key("within_seconds"), within_seconds, 1..=SECONDS_MAX)?;
        }
        if let Some(waiting_max) = limits.waiting_max {
            within(key("waiting_max"), waiting_max, 1..=1_000_000)?;
        }
        let is_twin = |other: &&String| *other != name && super::is_same_actor(other, name);
        if let Some(twin) = rules.actors.keys().find(is_twin) {
            let reason = format!("is the same actor as {twin:?}");
            return Err(bad(format!("supervisor.actors.{name}"), reason));
        }
    }
    Ok(())
}

fn inference(config: &Config) -> Result<(), Bad> {
    let inference = &config.inference;
    within("inference.prompt_chars_max", inference.prompt_chars_max, 1..=16 << 20)?;
    within("inference.max_tokens_max", inference.max_tokens_max, 1..=1 << 20)?;
    let default_range = 1..=inference.max_tokens_max;
    within("inference.max_tokens_default", inference.max_tokens_default, default_range)?;
    if !inference.edge.engine.is_built() {
        let reason = "is \"llama-cpp\", which this build lacks; build it with --features llama-cpp";
        return Err(bad("inference.edge.engine", reason));
    }
    within("inference.edge.parallel", inference.edge.parallel, 1..=256)?;
    within("inference.edge.threads", inference.edge.threads, 0..=1024)?;
    pace("inference.ollama", &inference.ollama.first())?;
    within("inference.queue.waiting_max", inference.queue.waiting_max, 0..=65_536)?;
    let breaker = &inference.breaker;
    within("inference.breaker.failed_percent", breaker.failed_percent, 1..=100)?;
    within("inference.breaker.calls_min", breaker.calls_min, 1..=256)?;
    within("inference.breaker.window_seconds", breaker.window_seconds, 1..=3600)?;
    within("inference.breaker.in_a_row", breaker.in_a_row, 1..=1_000_000)?;
    within("inference.breaker.open_seconds", breaker.open_seconds, 1..=SECONDS_MAX)?;
    let longest = breaker.open_seconds..=SECONDS_MAX;
    within("inference.breaker.open_seconds_max", breaker.open_seconds_max, longest)?;
    let retry = &inference.retry;
    within("inference.retry.repeats_max", retry.repeats_max, 0..=10)?;
    within("inference.retry.pause_ms", retry.pause_ms, 1..=MS_MAX)?;
    within("inference.retry.pause_ms_max", retry.pause_ms_max, retry.pause_ms..=MS_MAX)?;
    within("inference.retry.budget_percent", retry.budget_percent, 0..=100)?;
    within("inference.retry.budget_reserve", retry.budget_reserve, 0..=1000)?;
    within("inference.hedge.percent", inference.hedge.percent, 0..=5)?;
    if !is_plain_http(&inference.ollama.url) {
        let reason = format!("{:?} is not of the form http://host:port", inference.ollama.url);
        return Err(bad("inference.ollama.url", reason));
    }
    if inference.edge.models.len() > MODELS_MAX {
        let reason = format!("has more than {MODELS_MAX} files; put them into a folder");
        return Err(bad("inference.edge.models", reason));
    }
    if inference.edge.models.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(bad("inference.edge.models", "holds an empty path"));
    }
    within("inference.edge.memory_bytes", inference.edge.memory_bytes, 0..=1 << 50)?;
    servers("inference.ollama.servers", &inference.ollama.servers)?;
    servers("inference.openai", &inference.openai)
}

/// Most files in `inference.edge.models`.
const MODELS_MAX: usize = 256;

fn servers(list: &str, servers: &[ModelServer]) -> Result<(), Bad> {
    for (index, server) in servers.iter().enumerate() {
        let key = |key: &str| format!("{list}[{index}].{key}");
        if !is_plain_name(&server.name) {
            let reason = "is not 1 to 32 of a-z, 0-9 and hyphens, beginning with a letter or digit";
            return Err(bad(key("name"), format!("{:?} {reason}", server.name)));
        }
        if servers[..index].iter().any(|other| other.name == server.name) {
            return Err(bad(key("name"), format!("{:?} is used twice", server.name)));
        }
        if !is_server_url(&server.url) {
            let reason = "is not of the form http://host:port or https://host:port, with or \
                          without a path";
            return Err(bad(key("url"), format!("{:?} {reason}", server.url)));
        }
        if server.api_key.is_some() && server.api_key_file.is_some() {
            return Err(bad(key("api_key_file"), "is given beside api_key; give one of them"));
        }
        if server.ca_file.is_some() && !server.url.starts_with("https://") {
            return Err(bad(key("ca_file"), "is given for a server without TLS"));
        }
        if let Some(proxy) = server.proxy.as_ref().filter(|proxy| !is_origin(proxy)) {
            return Err(bad(
                key("proxy"),
                format!("{proxy:?} is not of the form http://host:port"),
            ));
        }
        pace(&format!("{list}[{index}]"), server)?;
    }
    Ok(())
}

/// How much a server is given at once, and how long it is waited for.
fn pace(section: &str, server: &ModelServer) -> Result<(), Bad> {
    let key = |key: &str| format!("{section}.{key}");
    within(key("parallel"), server.parallel, 1..=1024)?;
    within(key("probe_seconds"), server.probe_seconds, 1..=SECONDS_MAX)?;
    within(key("probe_timeout_ms"), server.probe_timeout_ms, 1..=MS_MAX)?;
    within(key("connect_ms"), server.connect_ms, 1..=MS_MAX)?;
    within(key("first_token_ms"), server.first_token_ms, 1..=MS_MAX)?;
    within(key("between_tokens_ms"), server.between_tokens_ms, 1..=MS_MAX)
}

/// A name that can stand in the name of an actor, in a label of a metric and in a path.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-')
}

/// An origin and a plain path. No name or password, which would be seen in logs, and no query.
fn is_server_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/".contains(&c);
    ["http", "https"].contains(&scheme) && is_authority(authority) && path.bytes().all(is_plain)
}

fn telemetry(config: &Config) -> Result<(), Bad> {
    let telemetry = &config.telemetry;
    if telemetry.service_name.is_empty() {
        return Err(bad("telemetry.service_name", "is empty"));
    }
    let Some(endpoint) = &telemetry.endpoint else { return Ok(()) };
    if !cfg!(feature = "otlp") {
        let reason = "is set, and this build makes no traces; build it with --features otlp";
        return Err(bad("telemetry.endpoint", reason));
    }
    if !is_plain_http(endpoint) {
        let reason = format!("{endpoint:?} is not of the form http://host:port");
        return Err(bad("telemetry.endpoint", reason));
    }
    Ok(())
}

fn within<T: PartialOrd + Display>(
    key: impl Into<String>,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Bad> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(bad(key, format!("is {value}, not within {}..={}", range.start(), range.end())))
}

/// A name or an IP address as a `Host` header holds it, without a port.
fn is_host(text: &str) -> bool {
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    address.parse::<IpAddr>().is_ok() || is_name(text)
}

/// A DNS name (RFC 1123): labels of letters, digits and hyphens.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A web origin (RFC 6454): scheme, host, and a port unless it is the scheme's own.
fn is_origin(text: &str) -> bool {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(is_authority)
}

/// A server that is spoken to without TLS.
fn is_plain_http(text: &str) -> bool {
    text.strip_prefix("http://").is_some_and(is_authority)
}

fn is_authority(text: &str) -> bool {
    if is_host(text) && (!text.contains(':') || text.starts_with('[')) {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_port && is_host(host) && (!host.contains(':') || host.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for origin in ["http://localhost:5173", "https://example.org", "http://[::1]:80"] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in ["", "*", "null", "example.org", "https://", "https://a/b", "https://a:b"] {
            assert!(!is_origin(origin), "{origin}");
        }
        for origin in
            ["ftp://a", "http://a:", "http://a:65536", "http://::1", "http://-a", "http://a b"]
        {
            assert!(!is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn a_server_has_an_origin_and_perhaps_a_path() {
        for url in ["http://127.0.0.1:1234", "https://example.org/v1", "http://[::1]:8000/a/b/"] {
            assert!(is_server_url(url), "{url}");
        }
        for url in [
            "",
            "example.org",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a/?q=1",
            "http://a/#f",
        ] {
            assert!(!is_server_url(url), "{url}");
        }
    }

    #[test]
    fn a_server_has_a_plain_name() {
        for name in ["a", "0", "gpu-1", &"x".repeat(32)] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", "-a", "A", "a_b", "a.b", "a b", "\u{e9}", &"x".repeat(33)] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[test]
    fn a_model_server_is_spoken_to_without_tls() {
        assert!(is_plain_http("http://127.0.0.1:11434"));
        assert!(!is_plain_http("https://127.0.0.1:11434"));
        assert!(!is_plain_http("http://127.0.0.1:11434/"));
    }
}
