//! What the environment says about the configuration.

use toml::{Table, Value};

use super::Config;
use super::load::{ConfigError, Overlay, Source, lookup, not_utf8};

/// What every variable of ours begins with.
const PREFIX: &str = "BIZRA_";
/// What stands between section and key, and marks a variable as configuration.
const SEPARATOR: &str = "__";
/// Variables under another name, least specific first; `BIZRA_SECTION__KEY` goes before them.
const ALIASES: [(&str, &str); 10] = [
    ("BIZRA_DATA_DIR", "node.data_dir"),
    ("BIZRA_PASSPHRASE_FILE", "node.passphrase_file"),
    ("OLLAMA_HOST", "inference.ollama.url"),
    ("HF_ENDPOINT", "inference.models.endpoint"),
    ("HF_TOKEN", "inference.models.token"),
    ("HF_HUB_OFFLINE", "inference.models.offline"),
    ("RUST_LOG", "log.filter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.endpoint"),
    ("OTEL_TRACES_SAMPLER_ARG", "telemetry.sampling_ratio"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
];

/// Every value that a variable sets, in the order in which they hold.
pub(super) fn from_env(env: &[(String, String)]) -> Result<Vec<Overlay>, ConfigError> {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut overlays = Vec::new();
    let mut push = |name: &str, key: String, text: &str| {
        let source = Source::Variable(name.to_owned());
        // What the caller made of bytes that are not UTF-8. No key has use for this character.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(not_utf8(source, key));
        }
        let value = read_value(&defaults, &key, text);
        overlays.push(Overlay { key, value, source });
        Ok(())
    };
    let variables: Vec<(&str, String, &str)> = env
        .iter()
        .filter_map(|(name, text)| {
            let key = name.strip_prefix(PREFIX).filter(|key| key.contains(SEPARATOR))?;
            Some((name.as_str(), key.to_ascii_lowercase().replace(SEPARATOR, "."), text.as_str()))
        })
        .collect();
    for (alias, key) in ALIASES {
        let Some((_, text)) = env.iter().find(|(name, text)| name == alias && !text.is_empty())
        else {
            continue;
        };
        // Another program's variable is not read, and so cannot be wrong, where ours says it all.
        if variables.iter().any(|(_, ours, _)| ours == key) {
            continue;
        }
        match alias {
            "OLLAMA_HOST" => push(alias, key.to_owned(), &ollama_url(text))?,
            "HF_HUB_OFFLINE" => push(alias, key.to_owned(), hub_flag(text))?,
            _ => push(alias, key.to_owned(), text)?,
        }
    }
    for (name, key, text) in variables {
        push(name, key, text)?;
    }
    Ok(overlays)
}

/// The value that `text` means for `key`: text as it is where the key holds text, otherwise TOML.
fn read_value(defaults: &Table, key: &str, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    if matches!(lookup(defaults, key), Some(Value::String(_))) {
        return as_text();
    }
    text.parse::<Value>().unwrap_or_else(|_| as_text())
}

/// `OLLAMA_HOST` as Ollama itself reads it: a host, a port or both, with or without a scheme. An
/// address to listen on everywhere is one to connect to on loopback.
fn ollama_url(text: &str) -> String {
    let text = text.trim().trim_matches(['"', '\'']).trim_end_matches('/');
    let (scheme, rest, port) = match text.split_once("://") {
        Some(("http", rest)) => ("http", rest, "80"),
        Some((scheme, rest)) => (scheme, rest, "443"),
        None => ("http", text, "11434"),
    };
    // A colon inside brackets belongs to an IPv6 address.
    let colon = rest.rfind(':').filter(|colon| rest.rfind(']').is_none_or(|end| end < *colon));
    let is_bare_v6 = rest.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match colon {
        Some(colon) if !is_bare_v6 => (&rest[..colon], &rest[colon + 1..]),
        _ => (rest, port),
    };
    match host {
        "" | "0.0.0.0" => format!("{scheme}://127.0.0.1:{port}"),
        "::" | "[::]" => format!("{scheme}://[::1]:{port}"),
        host if is_bare_v6 => format!("{scheme}://[{host}]:{port}"),
        host => format!("{scheme}://{host}:{port}"),
    }
}

/// A flag as the hub's own programs read it: 1, true, yes and on in any case are set, the rest is not.
fn hub_flag(text: &str) -> &'static str {
    let is_set = ["1", "true", "yes", "on"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_set { "true" } else { "false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_ollama_means_what_it_means_to_ollama() {
        for (text, url) in [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("example.org:1234", "http://example.org:1234"),
            (":1234", "http://127.0.0.1:1234"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:5", "http://[::1]:5"),
            ("[::]", "http://[::1]:11434"),
            ("http://box", "http://box:80"),
            ("http://box:99/", "http://box:99"),
            ("https://box", "https://box:443"),
            (" \"box\" ", "http://box:11434"),
        ] {
            assert_eq!(ollama_url(text), url, "{text}");
        }
    }
}
