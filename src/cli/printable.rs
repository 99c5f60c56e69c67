//! Text from elsewhere as it may be printed: what a terminal would obey is written as an escape.
//!
//! Models, labels, file names and errors may say anything, and what is piped may end on a terminal.

use serde_json::Value;

/// One line: line ends and tabs are escaped as well, and so is what reorders or hides text.
pub(super) fn line(text: &str) -> String {
    escaped(text, |c| !c.is_control() && !is_hidden(c))
}

/// Text of several lines. Characters that join and break words stay: scripts and emoji need them.
pub(super) fn text(text: &str) -> String {
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    escaped(text, |c| is_plain(c) && !is_reordering(c))
}

/// JSON, laid out for people or in one line, with a line end. What JSON itself would leave as it is
/// becomes an escape of JSON, so that every reader sees the same value.
pub(super) fn json(value: &Value, is_wide: bool) -> String {
    let plain = if is_wide { format!("{value:#}\n") } else { format!("{value}\n") };
    let is_kept = |c: char| c == '\n' || (!c.is_control() && !is_reordering(c));
    if plain.chars().all(is_kept) {
        return plain;
    }
    let mut text = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_kept(c) {
            text.push(c);
        } else {
            // None of them is outside the first plane.
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    text
}

fn escaped(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

/// Characters that override the direction of the text around them, or end its line.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that reorder or hide the text around them.
fn is_hidden(c: char) -> bool {
    is_reordering(c)
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets a title, clears in eight bits, rings, returns, deletes, reorders.
    const HOSTILE: &str = "a\u{1b}]0;x\u{7}\u{9b}2J\r\u{7f}\u{202e}\u{2066}\u{85}z";

    fn is_harmless(text: &str) -> bool {
        text.chars().all(|c| c == '\n' || c == '\t' || (!c.is_control() && !is_reordering(c)))
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for shown in [line(HOSTILE), text(HOSTILE), json(&HOSTILE.into(), true)] {
            assert!(is_harmless(&shown), "{shown:?}");
        }
        assert_eq!(line("a\nb\u{1b}\u{feff}"), "a\\nb\\u{1b}\\u{feff}");
        assert_eq!(text("a\n\tb\r"), "a\n\tb\\r");
    }

    #[test]
    fn json_means_the_same_after_it() {
        for (value, is_wide) in [(HOSTILE, true), (HOSTILE, false), ("plain", true)] {
            let value = serde_json::json!({ "key": value });
            let shown = json(&value, is_wide);
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
            assert_eq!(shown.lines().count(), if is_wide { 3 } else { 1 });
        }
    }

    #[test]
    fn scripts_that_need_joiners_keep_them() {
        let joined = "\u{645}\u{6cc}\u{200c}\u{62e} \u{1f469}\u{200d}\u{1f4bb}";
        assert_eq!(text(joined), joined);
        assert_ne!(line(joined), joined);
    }
}
