//! Answers of the node as text for people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::printable;

/// Members that are no objects, one per line, without those that say nothing. Whoever wants the rest
/// asks for the JSON of it all.
pub fn fields(answer: &Value) -> String {
    let Some(members) = answer.as_object() else { return format!("{answer}\n") };
    let says = |value: &Value| match value {
        Value::Null | Value::Object(_) => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let told = members.iter().filter(|(_, value)| says(value));
    let width = told.clone().map(|(key, _)| key.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (key, value) in told {
        let _ = writeln!(text, "{:width$}  {}", printable::line(key), plain(value));
    }
    text
}

/// The verdict, and the state of every actor that is not running.
pub fn health(answer: &Value) -> String {
    let mut text = format!("{}\n", plain(&answer["status"]));
    for (name, state) in answer["actors"].as_object().into_iter().flatten() {
        if state != "running" {
            let _ = writeln!(text, "  {}: {}", printable::line(name), plain(state));
        }
    }
    text
}

/// The supervision tree, children below their supervisor and further in.
pub fn tree(answer: &Value) -> String {
    let header = ["ACTOR", "STATE", "UP", "STARTS", "RESTARTS", "QUEUE", "LAST FAILURE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    branch(&answer["actors"], 0, &mut rows);
    table(&rows)
}

fn branch(actors: &Value, depth: usize, rows: &mut Vec<Vec<String>>) {
    for actor in actors.as_array().into_iter().flatten() {
        let mark = if actor["critical"] == true { " *" } else { "" };
        let last = &actor["last_failure"];
        let failure = match last["class"].as_str() {
            Some(class) => format!("{class}: {}", plain(&last["reason"])),
            None => String::new(),
        };
        rows.push(vec![
            format!("{}{}{mark}", "  ".repeat(depth), plain(&actor["name"])),
            plain(&actor["state"]),
            actor["uptime_seconds"].as_f64().map(seconds).unwrap_or_default(),
            plain(&actor["incarnation"]),
            plain(&actor["restarts"]),
            format!("{}/{}", plain(&actor["queue_depth"]), plain(&actor["queue_depth_max"])),
            failure,
        ]);
        branch(&actor["children"], depth + 1, rows);
    }
}

/// What is enforced: thresholds, rules, and the gates of every profile.
pub fn constitution(answer: &Value) -> String {
    let mut text = fields(&without(answer, "rules"));
    let keys = ["id", "target", "metric", "comparator", "threshold", "enforcement"];
    let mut rows =
        vec![["RULE", "OF", "METRIC", "", "", "ENFORCED", "COSTS"].map(str::to_owned).to_vec()];
    for rule in answer["rules"].as_array().into_iter().flatten() {
        let mut row: Vec<String> = keys.iter().map(|key| plain(&rule[*key])).collect();
        row.push(plain(&rule["penalty"]["kind"]));
        rows.push(row);
    }
    text.push('\n');
    text.push_str(&table(&rows));
    let mut rows = vec![["PROFILE", "GATES"].map(str::to_owned).to_vec()];
    for (profile, terms) in answer["profiles"].as_object().into_iter().flatten() {
        let gates = terms["gates"].as_object().into_iter().flatten();
        let gates: Vec<_> = gates.map(|(gate, how)| format!("{gate} ({})", plain(how))).collect();
        rows.push(vec![profile.clone(), gates.join(", ")]);
    }
    text.push('\n');
    text.push_str(&table(&rows));
    text
}

fn without(answer: &Value, key: &str) -> Value {
    let mut members = answer.as_object().cloned().unwrap_or_default();
    members.remove(key);
    Value::Object(members)
}

/// A page of the envelope log, and how to go on if there is more.
pub fn envelopes(answer: &Value) -> String {
    let mut rows = vec![["AT", "ID", "SENDER", "CONSTITUTION"].map(str::to_owned).to_vec()];
    for entry in answer["envelopes"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(&entry[name]);
        let constitution: String = text("constitution").chars().take(16).collect();
        rows.push(vec![text("at"), text("id"), text("sender"), constitution]);
    }
    table(&rows) + &more(answer)
}

/// How to go on, if there is more.
pub(super) fn more(answer: &Value) -> String {
    let next = answer["next"].as_str();
    next.map(|next| format!("for more: --after {}\n", printable::line(next))).unwrap_or_default()
}

/// The members called `keys` of each item, a line each below `header`.
pub(super) fn rows(items: &Value, header: &[&str], keys: &[&str]) -> String {
    let mut rows = vec![header.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()];
    for item in items.as_array().into_iter().flatten() {
        rows.push(keys.iter().map(|key| plain(&item[*key])).collect());
    }
    table(&rows)
}

/// The models that were seen.
pub fn models(answer: &Value) -> String {
    let header = ["MODEL", "TIER", "BACKEND", "WEIGHTS", "FORMAT", "CONTEXT", "AVAILABLE", "NOTE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for model in answer["models"].as_array().into_iter().flatten() {
        let keys = ["name", "tier", "backend", "parameters", "quantization", "context_length"];
        let mut row: Vec<String> = keys.iter().map(|key| plain(&model[*key])).collect();
        row.push(if model["available"] == true { "yes" } else { "no" }.to_owned());
        row.push(plain(&model["note"]));
        rows.push(row);
    }
    table(&rows)
}

/// One line about how a text came to be.
pub fn generation(answer: &Value) -> String {
    let mut line = format!(
        "[{} on {}, {} + {} tokens, {}",
        plain(&answer["model"]),
        plain(&answer["tier"]),
        plain(&answer["prompt_tokens"]),
        plain(&answer["completion_tokens"]),
        plain(&answer["finish_reason"]),
    );
    if let Some(rate) = answer["tokens_per_second"].as_f64() {
        let _ = write!(line, ", {rate:.1} tokens/s");
    }
    if answer["degraded"] == true {
        let _ = write!(line, ", instead of tier {}", plain(&answer["requested_tier"]));
    }
    line.push(']');
    line
}

/// The keys, and which took the place of which.
pub fn identities(answer: &Value) -> String {
    let header = ["NODE ID", "SIGNS", "LABEL", "REPLACED BY"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for identity in answer["identities"].as_array().into_iter().flatten() {
        let new = identity["rotation"]["new_public_key"].as_str().and_then(|key| key.get(..32));
        rows.push(vec![
            plain(&identity["node_id"]),
            if identity["active"] == true { "yes" } else { "no" }.to_owned(),
            plain(&identity["label"]),
            new.unwrap_or_default().to_owned(),
        ]);
    }
    table(&rows)
}

/// The key that signs now, and the record on a line of its own, to be given to others.
pub fn rotated(answer: &Value) -> String {
    format!("{}{}", fields(answer), printable::json(&answer["rotation"], false))
}

/// What rotation records say, and whether they hold.
pub fn records(answer: &Value) -> String {
    let mut text = String::new();
    for record in answer["records"].as_array().into_iter().flatten() {
        text.push_str(&fields(record));
    }
    if answer["valid"] == true {
        text.push_str("valid\n");
    } else {
        let _ = writeln!(text, "invalid: {}", plain(&answer["reason"]));
    }
    text
}

/// What every gate said.
pub fn gates(answer: &Value) -> String {
    let header = ["GATE", "PASSED", "SCORE", "THRESHOLD", "SOURCE", "CODE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for result in answer["results"].as_array().into_iter().flatten() {
        let keys = ["gate", "passed", "score", "threshold", "source", "code"];
        rows.push(keys.iter().map(|key| plain(&result[*key])).collect());
    }
    let mut text = table(&rows);
    if answer["passed"] == true {
        text.push_str("passed\n");
    } else {
        let _ =
            writeln!(text, "refused: {} ({})", plain(&answer["reason"]), plain(&answer["code"]));
    }
    text
}

/// Rows with their columns aligned; the last one is left as it is. What a terminal would obey is
/// escaped in every cell.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A value without quotes, with commas between several; what a terminal would obey is escaped, nothing
/// for null.
pub(super) fn plain(value: &Value) -> String {
    let is_nested = |item: &Value| item.is_array() || item.is_object();
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.iter().any(is_nested) => {
            return items.iter().map(plain).collect::<Vec<_>>().join(", ");
        }
        other => other.to_string(),
    };
    printable::line(&text)
}

/// A time with a unit that fits.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1}s"),
        s if s < 3600.0 => format!("{:.1}m", s / 60.0),
        s if s < 86_400.0 => format!("{:.1}h", s / 3600.0),
        s => format!("{:.1}d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_shows_children_below_their_supervisor() {
        let answer = json!({ "actors": [{
            "name": "inference", "state": "running", "incarnation": 1, "uptime_seconds": 90.0,
            "restarts": 0, "queue_depth": 0, "queue_depth_max": 8, "critical": true,
            "last_failure": null,
            "children": [{
                "name": "edge", "state": "restarting", "incarnation": 3, "uptime_seconds": null,
                "restarts": 2, "queue_depth": 1, "queue_depth_max": 64, "critical": false,
                "last_failure": {"class": "panic", "reason": "a\nb\u{1b}", "at_ms": 1},
                "children": [],
            }],
        }]});
        let expected = "\
ACTOR        STATE       UP    STARTS  RESTARTS  QUEUE  LAST FAILURE
inference *  running     1.5m  1       0         0/8
  edge       restarting        3       2         1/64   panic: a\\nb\\u{1b}
";
        assert_eq!(tree(&answer), expected);
    }

    #[test]
    fn fields_are_aligned_and_leave_out_objects_and_what_says_nothing() {
        let answer = json!({
            "a": 1, "list": ["one", 2], "deep": [[1]], "inner": { "b": 2 }, "nothing": null,
            "nobody": [],
        });
        assert_eq!(fields(&answer), "a     1\nlist  one, 2\ndeep  [[1]]\n");
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_without_panicking() {
        for answer in [json!(null), json!([1]), json!({"actors": 3}), json!({"models": [7]})] {
            for show in [fields, health, tree, models, generation, gates, constitution] {
                show(&answer);
            }
        }
    }

    #[test]
    fn a_refusal_of_the_gates_says_why() {
        let answer = json!({ "passed": false, "reason": "too low", "code": "RejectGateSNR",
            "results": [{ "gate": "snr", "passed": false, "score": 0.5, "threshold": 0.85,
                "source": "claimed", "code": "RejectGateSNR" }] });
        let expected = "\
GATE  PASSED  SCORE  THRESHOLD  SOURCE   CODE
snr   false   0.5    0.85       claimed  RejectGateSNR
refused: too low (RejectGateSNR)
";
        assert_eq!(gates(&answer), expected);
    }

    #[test]
    fn a_degraded_answer_says_so() {
        let answer = json!({ "model": "demo", "tier": "Edge", "requested_tier": "Local",
            "degraded": true, "prompt_tokens": 2, "completion_tokens": 3,
            "finish_reason": "length", "tokens_per_second": 41.26 });
        let line = "[demo on Edge, 2 + 3 tokens, length, 41.3 tokens/s, instead of tier Local]";
        assert_eq!(generation(&answer), line);
    }
}
