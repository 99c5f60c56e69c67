//! The configuration from outside: the documented file, the environment, the flags, the errors.

use std::path::{Path, PathBuf};

use bizra_omega::config::{AuthMode, Config, Flags, LogFormat};
use toml::{Table, Value};

const DOCUMENTED: &str = include_str!("../config/node.toml");
const HOME: (&str, &str) = ("HOME", "/home/somebody");

/// Loads without any file, as home has none.
fn load(env: &[(&str, &str)], flags: &Flags) -> Result<Config, String> {
    load_from(None, env, flags)
}

fn load_from(path: Option<&Path>, env: &[(&str, &str)], flags: &Flags) -> Result<Config, String> {
    let env = [HOME].iter().chain(env).map(|(name, text)| (name.to_string(), text.to_string()));
    Config::load(path, env, flags).map_err(|error| error.to_string())
}

fn load_text(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load_from(Some(&path), &[], &Flags::default());
    loaded.map_err(|error| error.replace(dir.path().to_str().unwrap(), "DIR"))
}

/// What `error` must hold, all of it.
#[track_caller]
fn refused(loaded: Result<Config, String>, parts: &[&str]) {
    let error = loaded.expect_err("was accepted");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

/// Every key that is no section, with its sections.
fn keys(table: &Table, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => found.extend(keys(inner, &format!("{prefix}{key}."))),
            _ => found.push(format!("{prefix}{key}")),
        }
    }
    found
}

fn lookup<'a>(table: &'a Table, key: &str) -> &'a Value {
    let mut parts = key.split('.');
    let first = &table[parts.next().unwrap()];
    parts.fold(first, |value, part| &value[part])
}

#[test]
fn the_documented_file_is_the_default() {
    let documented: Config = toml::from_str(DOCUMENTED).unwrap();
    assert_eq!(documented, Config::default());
}

#[test]
fn every_key_is_documented_with_one_comment() {
    let documented: Table = DOCUMENTED.parse().unwrap();
    let defaults = Table::try_from(Config::default()).unwrap();
    assert_eq!(keys(&documented, ""), keys(&defaults, ""));

    let lines: Vec<&str> = DOCUMENTED.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        if !line.starts_with('#') {
            assert!(lines[at - 1].starts_with("# "), "no comment above {line:?}");
        }
    }
}

#[test]
fn home_stands_in_for_the_tilde() {
    let config = load(&[("BIZRA_INFERENCE__EDGE__MODEL", "~/m.gguf")], &Flags::default()).unwrap();
    assert_eq!(config.node.data_dir, Path::new("/home/somebody/.bizra"));
    assert_eq!(config.inference.edge.model, Some(PathBuf::from("/home/somebody/m.gguf")));

    let homeless = Config::load(None, std::iter::empty(), &Flags::default());
    let error = homeless.unwrap_err().to_string();
    assert_eq!(
        error,
        "node.data_dir begins with ~ and HOME is not set; give it as an absolute path"
    );
    let flags = Flags { data_dir: Some("/data".into()), ..Flags::default() };
    assert!(Config::load(None, std::iter::empty(), &flags).is_ok());
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    let defaults = Table::try_from(Config::default()).unwrap();
    for key in keys(&defaults, "") {
        let other = match (key.as_str(), lookup(&defaults, &key)) {
            ("http.host", _) => "::1".to_owned(),
            ("http.origins", _) => "[\"http://localhost:5173\"]".to_owned(),
            ("inference.ollama.url", _) => "http://box:1".to_owned(),
            ("inference.openai" | "inference.ollama.servers", _) => {
                "[{name = \"a\", url = \"http://box:1\"}]".to_owned()
            }
            ("telemetry.endpoint", _) => "http://box:1".to_owned(),
            ("inference.edge.engine", _) => "llama-cpp".to_owned(),
            ("auth.mode", _) => "trust-loopback".to_owned(),
            ("log.format", _) => "json".to_owned(),
            (_, Value::Integer(default)) => (default + 1).to_string(),
            (_, Value::Boolean(default)) => (!default).to_string(),
            (_, Value::Float(default)) => (default / 2.0).to_string(),
            (_, Value::Array(_)) => "[\"example.org\"]".to_owned(),
            // Looks like a number and must stay a text.
            (_, Value::String(_)) => "17".to_owned(),
            (_, default) => panic!("no other value for {key} = {default}"),
        };
        let name = format!("BIZRA_{}", key.to_uppercase().replace('.', "__"));
        let loaded = load(&[(&name, &other)], &Flags::default());
        let lacks = match key.as_str() {
            "telemetry.endpoint" if !cfg!(feature = "otlp") => Some("--features otlp"),
            "inference.edge.engine" if !cfg!(feature = "llama-cpp") => Some("--features llama-cpp"),
            _ => None,
        };
        if let Some(lacks) = lacks {
            refused(loaded, &[&name, &key, lacks]);
            continue;
        }
        if key == "patterns.approximate_above" && !cfg!(feature = "usearch") {
            refused(loaded, &[&name, &key, "--features usearch"]);
            continue;
        }
        let config = loaded.unwrap();
        let table = Table::try_from(&config).unwrap();
        let differing: Vec<String> = keys(&defaults, "")
            .into_iter()
            .filter(|key| key != "node.data_dir" && lookup(&table, key) != lookup(&defaults, key))
            .collect();
        if key == "node.data_dir" {
            assert_eq!(config.node.data_dir, Path::new("17"));
        } else {
            assert_eq!(differing, [key]);
        }
    }
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.toml");
    std::fs::write(&path, "[http]\nport = 1\nidle_seconds = 2\n[gossip]\nport = 3\n").unwrap();
    let env = [("BIZRA_HTTP__PORT", "4"), ("BIZRA_GOSSIP__PORT", "5")];
    let flags = Flags { port: Some(6), ..Flags::default() };
    let config = load_from(Some(&path), &env, &flags).unwrap();
    assert_eq!((config.http.port, config.gossip.port, config.http.idle_seconds), (6, 5, 2));
}

#[test]
fn every_flag_is_heard() {
    let flags = Flags {
        host: Some("0.0.0.0".parse().unwrap()),
        port: Some(1),
        tls_cert: Some("/c.pem".into()),
        tls_key: Some("/k.pem".into()),
        insecure: true,
        gossip_port: Some(2),
        data_dir: Some("/data".into()),
        model: Some("/m.gguf".into()),
        log_format: Some(LogFormat::Json),
    };
    let config = load(&[("BIZRA_DATA_DIR", "/elsewhere")], &flags).unwrap();
    assert_eq!(config.http.host.to_string(), "0.0.0.0");
    assert_eq!((config.http.port, config.gossip.port), (1, 2));
    assert_eq!(config.http.tls_cert, Some(PathBuf::from("/c.pem")));
    assert_eq!(config.http.tls_key, Some(PathBuf::from("/k.pem")));
    assert!(config.http.insecure);
    assert_eq!(config.node.data_dir, Path::new("/data"));
    assert_eq!(config.inference.edge.model, Some(PathBuf::from("/m.gguf")));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn the_data_directory_is_searched_for_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let port = |env: &[(&str, &str)], flags: &Flags| load(env, flags).unwrap().http.port;
    let by_flag = Flags { data_dir: Some(dir.path().into()), ..Flags::default() };
    assert_eq!(port(&[], &by_flag), 3001);
    std::fs::write(dir.path().join("node.toml"), "[http]\nport = 7\n").unwrap();
    assert_eq!(port(&[], &by_flag), 7);
    assert_eq!(port(&[("BIZRA_DATA_DIR", data_dir)], &Flags::default()), 7);
    assert_eq!(port(&[("BIZRA_NODE__DATA_DIR", data_dir)], &Flags::default()), 7);
    assert_eq!(port(&[], &Flags::default()), 3001);
}

#[test]
fn other_names_for_variables_yield_to_our_own() {
    let flags = Flags::default();
    let config =
        load(&[("OLLAMA_HOST", "box:1"), ("RUST_LOG", "warn"), ("BIZRA_DATA_DIR", "/d")], &flags);
    let config = config.unwrap();
    assert_eq!(config.inference.ollama.url, "http://box:1");
    assert_eq!(config.log.filter, "warn");
    assert_eq!(config.node.data_dir, Path::new("/d"));

    let telemetry =
        load(&[("OTEL_TRACES_SAMPLER_ARG", "0.25"), ("OTEL_SERVICE_NAME", "n")], &flags).unwrap();
    assert_eq!(telemetry.telemetry.sampling_ratio.as_f64(), 0.25);
    assert_eq!(telemetry.telemetry.service_name, "n");
    let collector = load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://box:4318")], &flags);
    if cfg!(feature = "otlp") {
        assert_eq!(collector.unwrap().telemetry.endpoint.as_deref(), Some("http://box:4318"));
    } else {
        refused(collector, &["OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.endpoint"]);
    }

    let both = [("OLLAMA_HOST", "https://x"), ("BIZRA_INFERENCE__OLLAMA__URL", "http://box:2")];
    assert_eq!(load(&both, &flags).unwrap().inference.ollama.url, "http://box:2");
    assert!(load(&[("OLLAMA_HOST", "")], &flags).is_ok());
    refused(
        load(&both[..1], &flags),
        &["environment variable OLLAMA_HOST", "inference.ollama.url", "https://x:443"],
    );
}

#[test]
fn the_hubs_variables_mean_what_they_mean_to_it() {
    let flags = Flags::default();
    let models = |env: &[(&str, &str)]| load(env, &flags).unwrap().inference.models;
    let set = models(&[("HF_ENDPOINT", "https://mirror.example"), ("HF_TOKEN", "hf_secret")]);
    assert_eq!(set.endpoint, "https://mirror.example");
    assert_eq!(set.token.expose(), "hf_secret");
    assert!(!format!("{set:?}").contains("hf_secret"));
    for (text, is_offline) in [("1", true), ("TRUE", true), ("on", true), ("0", false), ("", false)]
    {
        assert_eq!(models(&[("HF_HUB_OFFLINE", text)]).offline, is_offline, "{text}");
    }
    let both = [("HF_HUB_OFFLINE", "1"), ("BIZRA_INFERENCE__MODELS__OFFLINE", "false")];
    assert!(!models(&both).offline);
    let catalogue = models(&[("BIZRA_INFERENCE__MODELS__CATALOGUE", "~/models.toml")]).catalogue;
    assert_eq!(catalogue, Some(PathBuf::from("/home/somebody/models.toml")));
    refused(load(&[("HF_TOKEN", "\u{fffd}")], &flags), &["HF_TOKEN", "is not UTF-8"]);
}

#[test]
fn an_unknown_variable_is_refused_only_if_it_looks_like_a_key() {
    let flags = Flags::default();
    assert!(load(&[("BIZRA_PASSPHRASE_FILE", "/p"), ("BIZRA_API_BIN", "b")], &flags).is_ok());
    assert!(load(&[("OTHER_HTTP__PORT", "1")], &flags).is_ok());
    for (name, key) in [
        ("BIZRA_HTTP__PROT", "http.prot"),
        ("BIZRA_HTPT__PORT", "htpt"),
        ("BIZRA_HTTP__PORT__X", "http.port"),
        ("BIZRA_SUPERVISOR__ACTORS__X__Y", "supervisor.actors.x.y"),
        ("BIZRA___", ""),
    ] {
        refused(load(&[(name, "1")], &flags), &[name, key]);
    }
}

#[test]
fn a_bad_variable_is_refused_with_its_name_and_its_key() {
    let flags = Flags::default();
    for (name, text, key, reason) in [
        ("BIZRA_HTTP__PORT", "65536", "http.port", "65536"),
        ("BIZRA_HTTP__PORT", "-1", "http.port", "-1"),
        ("BIZRA_HTTP__PORT", "", "http.port", "string"),
        ("BIZRA_HTTP__PORT", "3001x", "http.port", "3001x"),
        ("BIZRA_HTTP__HOST", "nowhere", "http.host", "neither an IP address nor localhost"),
        ("BIZRA_HTTP__HOSTS", "a", "http.hosts", "expected a sequence"),
        ("BIZRA_HTTP__HOSTS", "[\"a:1\"]", "http.hosts", "\"a:1\""),
        ("BIZRA_HTTP__ORIGINS", "[\"*\"]", "http.origins", "\"*\""),
        ("BIZRA_HTTP__IDLE_SECONDS", "0", "http.idle_seconds", "is 0, not within 1..=86400"),
        ("BIZRA_AUTH__MODE", "none", "auth.mode", "`token`, `local`, `trust-loopback`"),
        ("BIZRA_CHAOS__ENABLED", "yes", "chaos.enabled", "boolean"),
        ("BIZRA_INFERENCE__EDGE__PARALLEL", "0", "inference.edge.parallel", "1..=256"),
        ("BIZRA_INFERENCE__MAX_TOKENS_DEFAULT", "5000", "max_tokens_default", "1..=4096"),
        ("BIZRA_SUPERVISOR__BACKOFF_MAX_MS", "5", "supervisor.backoff_max_ms", "backoff_min_ms 10"),
        ("BIZRA_TELEMETRY__SAMPLING_RATIO", "1.5", "telemetry.sampling_ratio", "0..=1"),
        ("BIZRA_TELEMETRY__SAMPLING_RATIO", "nan", "telemetry.sampling_ratio", "0..=1"),
        ("BIZRA_TELEMETRY__SERVICE_NAME", "", "telemetry.service_name", "is empty"),
        ("BIZRA_TELEMETRY__ENDPOINT", "https://box", "telemetry.endpoint", "telemetry"),
        ("BIZRA_WS__SILENT_SECONDS", "20", "ws.silent_seconds", "ping_seconds is 20"),
        ("BIZRA_WS__MESSAGE_BYTES_MAX", "10", "ws.message_bytes_max", "not within"),
        ("BIZRA_SUPERVISOR__ACTORS__A__WAITING_MAX", "0", "actors.a.waiting_max", "is 0"),
        ("BIZRA_LOG__FILTER", "a\u{fffd}", "log.filter", "is not UTF-8"),
        ("BIZRA_NODE__DATA_DIR", "", "node.data_dir", "is empty"),
    ] {
        let prefix = format!("environment variable {name}: ");
        refused(load(&[(name, text)], &flags), &[&prefix, key, reason]);
    }
}

#[test]
fn a_bad_file_is_refused_with_its_path_its_line_and_its_key() {
    for (text, parts) in [
        ("[http\n", &["DIR/node.toml:1: "][..]),
        ("\n[http]\nport = \n", &["DIR/node.toml:3: "]),
        ("[http]\nport = 1\nport = 2\n", &["DIR/node.toml:3: ", "duplicate key"]),
        ("\n[http]\nprot = 1\n", &["DIR/node.toml:3: http.prot: unknown field `prot`", "`port`"]),
        ("top = 1\n", &["DIR/node.toml:1: top: unknown field `top`"]),
        ("[http]\nport = \"x\"\n", &["DIR/node.toml:2: http.port: ", "string \"x\""]),
        ("[http]\nport = 70000\n", &["DIR/node.toml:2: http.port: ", "70000"]),
        ("http = 3\n", &["DIR/node.toml:1: http: "]),
        ("[supervisor.actors.x]\ny = 1\n", &["supervisor.actors.x.y: unknown field"]),
        ("[http]\nidle_seconds = 0\n", &["DIR/node.toml: http.idle_seconds: is 0"]),
        (
            "[supervisor.actors]\na-b = {}\na_b = {}\n",
            &["supervisor.actors.a-b", "the same actor as \"a_b\""],
        ),
    ] {
        refused(load_text(text), parts);
    }
}

#[test]
fn model_servers_are_read_and_each_wrong_value_is_named_with_its_place() {
    let config = load_text(
        "[[inference.openai]]\nname = \"gpu\"\nurl = \"https://box/v1\"\ntier = \"pool\"\n\
         api_key = \"sk-1\"\n[[inference.openai]]\nname = \"lm\"\nurl = \"http://[::1]:1234\"\n\
         api_key_file = \"~/key\"\n[[inference.ollama.servers]]\nname = \"gpu\"\n\
         url = \"http://box:1\"\n",
    );
    let inference = config.unwrap().inference;
    assert_eq!(inference.openai[0].api_key.as_ref().unwrap().reveal(), "sk-1");
    assert_eq!(inference.openai[1].api_key_file, Some(PathBuf::from("/home/somebody/key")));
    assert_eq!(inference.ollama.servers[0].name, "gpu", "a name in another list is another");
    assert_eq!(inference.ollama.url, "http://127.0.0.1:11434");

    let with = |text: &str| load_text(&format!("[[inference.openai]]\nname = \"a\"\n{text}"));
    let url = "url = \"http://a:1\"\n";
    for (text, parts) in [
        ("", &["DIR/node.toml: inference.openai[0].url: \"\""][..]),
        ("url = \"http://u:p@a\"", &["inference.openai[0].url"]),
        ("url = \"http://a:1\"\nproxy = \"box\"", &["[0].proxy", "\"box\""]),
        ("url = \"http://a:1\"\nca_file = \"c\"", &["[0].ca_file", "without TLS"]),
        ("url = \"http://a:1\"\nparallel = 0", &["[0].parallel: is 0"]),
        ("url = \"http://a:1\"\ntier = \"edge\"", &["`local`", "`pool`"]),
        ("url = \"http://a:1\"\nnmae = 1", &["unknown field `nmae`"]),
    ] {
        refused(with(text), parts);
    }
    let twice = format!("{url}[[inference.openai]]\nname = \"a\"\n{url}");
    refused(with(&twice), &["inference.openai[1].name", "\"a\" is used twice"]);
    let named = |name: &str| load_text(&format!("[[inference.openai]]\nname = {name:?}\n{url}"));
    for name in ["", "A", "a b", "a/b", "-a", &"a".repeat(33)] {
        refused(named(name), &["inference.openai[0].name"]);
    }
}

#[test]
fn no_error_repeats_a_key() {
    let variable = "BIZRA_INFERENCE__OPENAI";
    for text in [
        "sk-secret",
        "[{name = \"a\", url = \"http://a\", api_key = \"sk-secret\" api",
        "[{name = \"a\", url = \"http://a\", api_key = \"sk-secret x\"}]",
        "[{name = \"a\", url = \"http://a\", api_key = [\"sk-secret\"]}]",
        "[{name = \"a\", url = \"http://a\", api_key = \"sk-secret\", api_key_file = \"f\"}]",
    ] {
        let error = load(&[(variable, text)], &Flags::default()).expect_err(text);
        assert!(error.contains("inference.openai") && !error.contains("secret"), "{error}");
    }
    let error = load_text("[[inference.openai]]\nname = \"a\"\napi_key = \"sk-secret x\"\n");
    let error = error.unwrap_err();
    assert!(error.contains("DIR/node.toml:3: ") && !error.contains("secret"), "{error}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = Path::new("/nonexistent/some.toml");
    let loaded = load_from(Some(missing), &[], &Flags::default());
    refused(loaded, &["/nonexistent/some.toml: ", "No such file"]);
}

#[test]
fn a_program_gives_the_values_of_a_file() {
    let home = Path::new("/home/somebody");
    let given = |values: serde_json::Value, flags: &Flags| {
        Config::from_values(&values, Some(home), flags).map_err(|error| error.to_string())
    };
    let values = serde_json::json!({
        "node": { "data_dir": "~/data" },
        "http": { "port": 0, "rate": { "loopback": true } },
        "supervisor": { "actors": { "gate-chain": { "max_restarts": 9 } } },
    });
    let config = given(values.clone(), &Flags::default()).unwrap();
    assert_eq!(config.node.data_dir, home.join("data"));
    assert_eq!((config.http.port, config.http.rate.loopback), (0, true));
    assert_eq!(config.supervisor.actor("gate-chain").max_restarts, Some(9));
    let flags = Flags { data_dir: Some("/elsewhere".into()), ..Flags::default() };
    assert_eq!(given(values, &flags).unwrap().node.data_dir, Path::new("/elsewhere"));
    let nothing = given(serde_json::json!({}), &Flags::default()).unwrap();
    assert_eq!(nothing.node.data_dir, home.join(".bizra"));

    for (values, parts) in [
        (serde_json::json!({ "htp": {} }), ["configuration given: htp", "unknown field"]),
        (serde_json::json!({ "http": { "prot": 1 } }), ["http.prot", "unknown field"]),
        (serde_json::json!({ "http": { "port": 65_536 } }), ["http.port", "configuration given"]),
        (serde_json::json!({ "http": { "port": "x" } }), ["http.port", "invalid type"]),
        (serde_json::json!({ "http": { "idle_seconds": 0 } }), ["configuration given", "idle_sec"]),
        (serde_json::json!({ "http": null }), ["configuration given", ""]),
        (serde_json::json!([1]), ["configuration given", ""]),
        (serde_json::json!("http"), ["configuration given", ""]),
    ] {
        refused(given(values, &Flags::default()), &parts);
    }
    let tilde = serde_json::json!({ "node": { "data_dir": "~" } });
    let homeless = Config::from_values(&tilde, None, &Flags::default());
    refused(homeless.map_err(|error| error.to_string()), &["node.data_dir", "HOME"]);
}

#[test]
fn an_actor_is_found_under_both_spellings() {
    let name = "BIZRA_SUPERVISOR__ACTORS__GATE_CHAIN__MAX_RESTARTS";
    let config = load(&[(name, "9")], &Flags::default()).unwrap();
    assert_eq!(config.supervisor.actor("gate-chain").max_restarts, Some(9));
    assert_eq!(config.supervisor.actor("gate_chain").max_restarts, Some(9));
    assert_eq!(config.supervisor.actor("gate").max_restarts, None);
    assert_eq!(config.supervisor.unknown_actor(&["gate-chain"]), None);
    assert_eq!(config.supervisor.unknown_actor(&["http"]), Some("gate_chain"));
}

#[test]
fn modes_are_words() {
    let modes = ["token", "local", "trust-loopback"]
        .map(|word| load(&[("BIZRA_AUTH__MODE", word)], &Flags::default()).unwrap().auth.mode);
    assert_eq!(modes, [AuthMode::Token, AuthMode::Local, AuthMode::TrustLoopback]);
}
