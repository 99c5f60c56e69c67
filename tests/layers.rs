//! House rules that a compiler does not know: who may import whom, and what no file may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines: beyond that it holds two things.
const LINES_MAX: usize = 500;

#[path = "layers/table.rs"]
mod table;

use table::{BINDINGS, LAYERS, Layer, WORDS};

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for path in sources(root) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        broken.extend(check(&name, &text).into_iter().map(|rule| format!("{name}{rule}")));
    }
    for manifest in ["Cargo.toml", ".cargo/config.toml"] {
        let text = fs::read_to_string(root.join(manifest)).unwrap();
        broken.extend(check_manifest(&text).map(|rule| format!("{manifest}: {rule}")));
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Every Rust file of ours.
fn sources(root: &Path) -> Vec<PathBuf> {
    let dirs = ["src", "tests", "benches", "bindings/python", "tools/snr/src", "xtask/src"];
    let mut found = sources_in(dirs.map(|dir| root.join(dir)).into());
    // What maturin builds in its folder.
    found.retain(|path| !path.starts_with(root.join("bindings/python/target")));
    found
}

fn sources_in(mut open: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The rules that the file breaks, each with its line.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        broken.push(format!(": has {lines} lines, at most {LINES_MAX}"));
    }
    let banned = banned(name);
    let mut is_test = false;
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        if let Some(strange) = line.chars().find(|c| !c.is_ascii()) {
            broken.push(format!(":{at}: holds {strange:?}; sources are ASCII, use an escape"));
        }
        // Unit tests at the end of a file may use what their subject may not.
        is_test |= line.starts_with("#[cfg(test)]");
        let code = without_comment(line);
        for name in banned.iter().filter(|name| !is_test && mentions(code, name)) {
            broken.push(format!(":{at}: must not use {name}"));
        }
        if !is_test && names_other_actor(name, code) {
            broken.push(format!(":{at}: must not use crate::actors of another actor"));
        }
        if !is_test && names_other_adapter(name, code) {
            broken
                .push(format!(":{at}: must not use crate::adapters but keystore, lock and models"));
        }
        if name.starts_with("src/") {
            if code.contains(".expose_secret()") && !name.starts_with("src/adapters/keystore") {
                broken.push(format!(":{at}: secret bytes are for the keystore alone"));
            }
            for (word, reason) in WORDS.iter().filter(|(word, _)| mentions(code, word)) {
                broken.push(format!(":{at}: must not say {word}: {reason}"));
            }
        }
    }
    if name.starts_with("src/") {
        let waits = calls_without_deadline(text).into_iter();
        broken.extend(waits.map(|at| format!(":{at}: calls without a deadline")));
    }
    broken
}

/// The lines of calls whose last argument is `None`, over however many lines they are written.
fn calls_without_deadline(text: &str) -> Vec<usize> {
    let code: String = text.lines().map(|line| format!("{}\n", without_comment(line))).collect();
    let is_timeless = |(at, call): (usize, &str)| {
        let rest = &code[at + call.len()..];
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
            depth == 0
        })?;
        let arguments = rest[..end].trim_end().trim_end_matches(',').trim_end();
        let last = arguments.strip_suffix("None")?.trim_end();
        last.ends_with(',').then(|| code[..at].lines().count().max(1))
    };
    [".call(", ".multi_call(", "rpc::call(", "call_and_forward("]
        .into_iter()
        .flat_map(|call| code.match_indices(call))
        .filter_map(is_timeless)
        .collect()
}

/// Who may call whom: for each actor the message types of the addresses that its files name.
fn calls(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut owners = BTreeMap::from([("SupervisorMsg".to_owned(), "supervisor".to_owned())]);
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let src = root.join("src");
    for path in sources_in(vec![src.clone()]) {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let actor = match name.split(['/', '.']).collect::<Vec<_>>()[..] {
            ["actors", actor, ..] | [actor @ ("http" | "supervisor"), ..] => actor.to_owned(),
            _ => continue,
        };
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<_> = text.lines().map(without_comment).collect();
        let code = code.into_iter().take_while(|line| !line.starts_with("#[cfg(test)]"));
        let named = named.entry(actor.clone()).or_default();
        for line in code {
            if let Some((_, message)) = line.split_once("type Msg = ") {
                owners.insert(message.trim_end_matches(';').to_owned(), actor.clone());
            }
            for (at, start) in line.match_indices("Addr<") {
                let message = line[at + start.len()..].split('>').next().unwrap();
                named.insert(message.to_owned());
            }
            // Who is handed the roster may call everybody in it.
            if line.contains("roster: Roster") {
                let roster = fs::read_to_string(root.join("src/messages/roster.rs")).unwrap();
                let all = roster.match_indices("Addr<").map(|(at, start)| {
                    roster[at + start.len()..].split('>').next().unwrap().to_owned()
                });
                named.extend(all);
            }
        }
    }
    let owner = |message: &String| owners.get(message).cloned();
    named
        .into_iter()
        .map(|(actor, named)| (actor, named.iter().filter_map(owner).collect()))
        .collect()
}

/// Takes away whoever calls nobody that is left, until nothing changes; those in cycles remain.
fn in_cycles(mut calls: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let left: BTreeSet<_> = calls.keys().cloned().collect();
        calls.retain(|_, called| called.iter().any(|called| left.contains(called)));
        if calls.len() == left.len() {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn nobody_calls_back_whoever_calls_them() {
    let mut calls = calls(Path::new(env!("CARGO_MANIFEST_DIR")));
    let called = |actor: &str| calls[actor].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(called("envelope"), ["gate_chain", "identity"]);
    assert_eq!(called("inference_router"), ["backend", "envelope", "gate_chain"]);
    assert_eq!(called("consensus"), ["gate_chain", "identity"]);
    assert_eq!(called("pattern_memory"), ["consensus", "identity"]);
    assert!(called("http").contains(&"supervisor"), "{calls:?}");
    // A supervisor asks those below it, from a task; a tree has no cycles.
    assert!(calls.get_mut("supervisor").unwrap().remove("supervisor"));
    assert_eq!(in_cycles(calls), Vec::<String>::new());
}

#[test]
fn a_call_cycle_is_found() {
    let calls = |pairs: &[(&str, &str)]| {
        let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (actor, called) in pairs {
            calls.entry((*actor).to_owned()).or_default().insert((*called).to_owned());
        }
        calls
    };
    assert!(in_cycles(calls(&[("a", "b"), ("b", "c"), ("d", "c")])).is_empty());
    let found = in_cycles(calls(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "e")]));
    assert_eq!(found, ["a", "b", "c"]);
    assert_eq!(in_cycles(calls(&[("a", "a")])), ["a"]);
}

/// What the file must not use by the layer it is in.
fn banned(name: &str) -> Vec<&'static str> {
    let path = name.strip_suffix(".rs").unwrap_or(name);
    let path = if path.starts_with(BINDINGS) { Some(path) } else { path.strip_prefix("src/") };
    let Some(path) = path else { return Vec::new() };
    let is_in = |layer: &&Layer| {
        path == layer.at || path.strip_prefix(layer.at).is_some_and(|rest| rest.starts_with('/'))
    };
    let layer = LAYERS.iter().filter(is_in);
    let mut banned: Vec<&str> = layer.flat_map(|layer| layer.banned.iter().copied()).collect();
    // The one actor that serves HTTP.
    if path.starts_with("actors/") && path != "actors/http" {
        banned.push("crate::http");
    }
    // The one file of messages that stands on ractor, so that it could be replaced.
    if path.starts_with("messages/") && path != "messages/addr" {
        banned.push("ractor");
    }
    banned
}

/// Whether an actor's file names another actor. Its own submodules it may name.
fn names_other_actor(name: &str, code: &str) -> bool {
    let Some(path) = name.strip_prefix("src/actors/") else { return false };
    let own = path.split(['/', '.']).next().unwrap();
    code.match_indices("crate::actors").any(|(at, path)| {
        let rest = code[at + path.len()..].trim_start_matches("::");
        !rest.strip_prefix(own).is_some_and(|rest| rest.starts_with([':', ';', ' ']))
    })
}

/// Whether a command names an adapter other than the keys, the lock and the models: on those it works
/// without a node, and whatever else it wants it asks the node for. A replay computes by itself, and
/// the doctor looks at embedding models and model servers as a node does.
fn names_other_adapter(name: &str, code: &str) -> bool {
    name.starts_with("src/cli/")
        && code.match_indices("crate::adapters").any(|(at, path)| {
            let rest = code[at + path.len()..].trim_start_matches("::");
            let is_replay = name == "src/cli/replay.rs" && rest.starts_with("edge::");
            let is_doctor = name.starts_with("src/cli/doctor/")
                && ["embedding::", "model_server::"].iter().any(|own| rest.starts_with(own));
            let is_own =
                ["keystore::", "lock::", "models::"].iter().any(|own| rest.starts_with(own));
            !(is_replay || is_doctor || is_own)
        })
}

/// A manifest must leave panics to unwind: supervision rests on it.
fn check_manifest(text: &str) -> Option<&'static str> {
    let aborts = |line: &str| {
        let line: String = line.split('#').next().unwrap().split_whitespace().collect();
        line.contains("panic=\"abort\"") || line.contains("panic='abort'")
    };
    text.lines().any(aborts).then_some("panics must unwind, or no actor can be restarted")
}

fn without_comment(line: &str) -> &str {
    let code = line.trim_start();
    if code.starts_with("//") { "" } else { line.split(" // ").next().unwrap() }
}

/// Whether `code` names `path`, not only a longer word with it inside.
fn mentions(code: &str, path: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_crate = !path.contains("::") && !path.contains('!') && path != "unbounded_channel";
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + path.len()..];
        let starts = !before.is_some_and(|c| is_word(c) || (is_crate && c == ':') || c == '.');
        let ends = !after.starts_with(is_word) || path.ends_with("Tcp");
        // A crate is used as a path or as a whole, not as a word in a text.
        let is_path = !is_crate || after.starts_with("::") || code.trim_start().starts_with("use ");
        starts && ends && is_path
    })
}

#[test]
fn a_forbidden_import_is_reported_with_its_line() {
    for (name, line, rule) in [
        ("src/domain/gate.rs", "use crate::messages::addr::Addr;", "must not use crate::messages"),
        ("src/domain/restart/tests.rs", "use tokio::time;", "must not use tokio"),
        ("src/domain/id.rs", "    let t = std::time::Instant::now();", "Instant::now"),
        ("src/domain/id.rs", "    let x = rand::random();", "must not use rand"),
        ("src/domain.rs", "use ractor as r;", "must not use ractor"),
        ("src/messages/addr.rs", "use crate::actors::http;", "must not use crate::actors"),
        ("src/supervisor/root.rs", "crate::actors::identity::NAME", "must not use crate::actors"),
        ("src/http/ws.rs", "    ractor::spawn()", "must not use ractor"),
        ("src/messages/event.rs", "use ractor::OutputPort;", "must not use ractor"),
        ("src/actors/identity.rs", "use crate::http::App;", "must not use crate::http"),
        ("src/actors/identity.rs", "use crate::actors::envelope;", "must not use crate::actors"),
        (
            "src/actors/backend/edge.rs",
            "use crate::actors::backends;",
            "must not use crate::actors",
        ),
        (
            "src/actors/http.rs",
            "use crate::actors::{http, identity};",
            "must not use crate::actors",
        ),
        ("src/config/load.rs", "    std::env::var(\"X\")", "must not use std::env"),
        ("src/cli/identity.rs", "use crate::adapters::store::Store;", "but keystore, lock"),
        ("src/cli/identity.rs", "use crate::adapters::{keystore, store};", "but keystore"),
        ("src/actors/identity.rs", "    key.expose_secret()", "for the keystore alone"),
        ("bindings/python/src/id.rs", "use bizra_omega::actors::identity;", "bizra_omega::actors"),
        ("bindings/python/src/node/a.rs", "use bizra_omega::http::app;", "bizra_omega::http"),
        ("src/node.rs", "    let (a, b) = unbounded_channel();", "every queue has a limit"),
        ("src/node.rs", "    actor.call(ask, None)", "without a deadline"),
        ("src/node.rs", "    actor.call(\n  ask(1, (2)),\n  None,\n)", "without a deadline"),
        ("src/node.rs", "    let c = '\u{2500}';", "sources are ASCII"),
    ] {
        let broken = check(name, &format!("//! File.\n{line}\n"));
        assert_eq!(broken.len(), 1, "{name}: {line}: {broken:?}");
        assert!(broken[0].starts_with(":2: ") && broken[0].contains(rule), "{broken:?}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (name, line) in [
        ("src/domain/gate.rs", "use crate::domain::score::Score; // as tokio would"),
        ("src/domain/gate.rs", "/// See crate::messages; tokio::time is not used."),
        ("src/domain/gate.rs", "    let brand::new = operand;"),
        ("src/actors/identity.rs", "use crate::actor::Actor;"),
        ("src/cli/identity.rs", "use crate::adapters::keystore::Keystore;"),
        ("src/cli/identity.rs", "use crate::adapters::lock::DirLock;"),
        ("src/adapters/keystore/files.rs", "    key.expose_secret()"),
        ("src/actors/http.rs", "use crate::http::router;"),
        ("src/actors/backend/edge.rs", "use crate::actors::backend::Shared;"),
        ("src/messages/addr.rs", "use ractor::ActorRef;"),
        ("bindings/python/src/id.rs", "use bizra_omega::domain::id;"),
        ("bindings/python/src/node/a.rs", "use bizra_omega::messages::addr::Addr;"),
        ("src/node.rs", "    addr.call(wait, |reply| Ask { model: None, reply })"),
        ("src/domain/gate.rs", "#[cfg(test)]\nuse rand::Rng;"),
        ("tests/addr.rs", "use ractor::Actor;"),
    ] {
        assert_eq!(check(name, line), Vec::<String>::new(), "{name}: {line}");
    }
}

#[test]
fn a_long_file_and_an_aborting_profile_are_reported() {
    assert_eq!(check("src/a.rs", &"\n".repeat(LINES_MAX)), Vec::<String>::new());
    assert_eq!(check("src/a.rs", &"\n".repeat(LINES_MAX + 1)).len(), 1);
    assert!(check_manifest("[profile.release]\npanic  = \"abort\"\n").is_some());
    assert!(check_manifest("panic = \"unwind\" # not panic = \"abort\"\n").is_none());
}
