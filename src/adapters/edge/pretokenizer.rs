//! Cuts text into the words inside which byte-pair encoding joins symbols.
//!
//! Where to cut is part of the vocabulary: with other cuts the same text becomes other tokens, and
//! the model answers badly without any error. So an unknown rule is refused, not approximated. The
//! rules are the regular expressions that llama.cpp knows under the same names.

use fancy_regex::Regex;

/// GPT-2's rule.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's: up to three digits stay together.
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's: each digit alone.
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Each digit alone, before the next rule.
const DIGIT: &str = r"\p{N}";

/// The names of the rules in `tokenizer.ggml.pre`, for error texts.
pub const NAMES: [&str; 12] = [
    "gpt-2",
    "gpt2",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "smaug-bpe",
    "qwen2",
    "deepseek-r1-qwen",
    "smollm",
    "starcoder",
    "refact",
    "mpt",
];

/// A rule for cutting text.
#[derive(Debug)]
pub struct Pretokenizer {
    /// Each cuts what the one before left.
    rules: Vec<Regex>,
    /// Whether a word that is a token as a whole is taken without joining.
    pub takes_whole_words: bool,
    /// Whether the begin-of-text token is added if the metadata does not say.
    pub adds_bos: bool,
}

impl Pretokenizer {
    /// The rule of that name; `None` if it is unknown.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let rules: &[&str] = match name {
            "gpt-2" | "gpt2" | "mpt" => &[GPT_2],
            "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => &[LLAMA_3],
            "qwen2" | "deepseek-r1-qwen" => &[QWEN_2],
            "smollm" | "starcoder" | "refact" => &[DIGIT, GPT_2],
            _ => return None,
        };
        let is_llama_3 = matches!(name, "llama-bpe" | "llama3" | "llama-v3");
        let rules = rules.iter().map(|rule| Regex::new(rule)).collect::<Result<_, _>>().ok()?;
        Some(Self { rules, takes_whole_words: is_llama_3, adds_bos: is_llama_3 })
    }

    /// The words of `text`; put together they are `text` again.
    #[must_use]
    pub fn words<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut words = vec![text];
        for rule in &self.rules {
            words = words.into_iter().flat_map(|word| cut(rule, word)).collect();
        }
        words
    }
}

/// Cuts before and after each match. If the expression gives up, as it may on a text made to
/// provoke that, the rest stays one word.
fn cut<'t>(rule: &Regex, text: &'t str) -> Vec<&'t str> {
    let mut words = Vec::new();
    let mut end = 0;
    for found in rule.find_iter(text).map_while(Result::ok) {
        words.push(&text[end..found.start()]);
        words.push(found.as_str());
        end = found.end();
    }
    words.push(&text[end..]);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_rule_cuts_as_its_model_was_trained() {
        let sample = "Hello'Ve world 1234\n\n  foo";
        let words = |name| Pretokenizer::named(name).unwrap().words(sample);
        assert_eq!(words("gpt-2"), ["Hello", "'", "Ve", " world", " 1234", "\n\n ", " foo"]);
        assert_eq!(
            words("llama-bpe"),
            ["Hello", "'Ve", " world", " ", "123", "4", "\n\n", " ", " foo"]
        );
        assert_eq!(
            words("qwen2"),
            ["Hello", "'Ve", " world", " ", "1", "2", "3", "4", "\n\n", " ", " foo"]
        );
        assert_eq!(
            words("smollm"),
            ["Hello", "'", "Ve", " world", " ", "1", "2", "3", "4", "\n\n ", " foo"]
        );
    }

    #[test]
    fn every_name_offered_is_known() {
        assert!(NAMES.iter().all(|name| Pretokenizer::named(name).is_some()));
        assert!(Pretokenizer::named("tekken").is_none());
    }

    #[test]
    fn a_long_run_of_spaces_is_cut_in_time() {
        let text = " ".repeat(300_000) + "x";
        let words = Pretokenizer::named("gpt-2").unwrap().words(&text);
        assert_eq!(words.concat(), text);
    }

    proptest! {
        #[test]
        fn the_words_together_are_the_text(text in "\\PC{0,40}|[ \\n0-9a'\u{e9}]{0,40}") {
            // Compiling them takes longer than all cases.
            static RULES: LazyLock<Vec<Pretokenizer>> = LazyLock::new(|| {
                let names = ["gpt-2", "llama-bpe", "qwen2", "smollm"];
                names.into_iter().filter_map(Pretokenizer::named).collect()
            });
            for rule in RULES.iter() {
                prop_assert_eq!(rule.words(&text).concat(), text.as_str());
            }
        }
    }
}
