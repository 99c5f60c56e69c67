//! What holds for any text.

use proptest::prelude::*;

use super::*;

/// Pieces that meet in texts: marks, near-misses, what they are made of, and fillers.
const PIECES: &[&str] = &[
    "ignore",
    "Disregard",
    "previous",
    "instructions",
    "all",
    "your",
    "system",
    "prompt",
    "reveal",
    "rules",
    "do",
    "anything",
    "now",
    "you are",
    "DAN",
    "not",
    "tell",
    "the user",
    "follow",
    "above",
    "<|im_start|>",
    "<|",
    "[INST]",
    "### System:",
    "password",
    "api_key",
    "token",
    "=",
    ":",
    "\"",
    "aZ3kQ9mLx7Vb2TzW",
    "hunter2",
    "Bearer ",
    "AKIA",
    "Q3EGRTGZ7V2LHX4M",
    "sk-",
    "ghp_",
    "eyJ",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----",
    "4532",
    "0151",
    "1283",
    "0366",
    "4532015112830366",
    "DE",
    "89370400440532013000",
    "536-22-8741",
    "+49 30 901820",
    "jane",
    "@",
    "mail.de",
    "https://",
    "/",
    " ",
    "\n",
    ". ",
    "-",
    "x",
    "\u{200b}",
    "\u{e9}",
    "\u{4f60}",
    "\u{202e}",
    "\u{2066}",
    "\u{e0041}",
    "\u{1f3f4}",
    "\u{435}",
    "\u{ff11}",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|parts| parts.concat())
}

fn spaced() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|parts| parts.join(" "))
}

fn check(text: &str) {
    let harm = harm(text);
    assert!(harm.findings().len() <= FINDINGS_MAX && harm.findings().len() <= harm.total());
    assert_eq!(harm.total() == 0, harm.value() == Score::ZERO);
    assert_eq!(
        harm.value(),
        Category::ALL.map(|category| harm.of(category)).into_iter().max().unwrap()
    );
    for finding in harm.findings() {
        assert!(text.is_char_boundary(finding.at) && finding.at < text.len(), "{finding:?}");
        assert!(finding.weight <= harm.of(finding.kind.category()));
    }
    assert_eq!(harm, self::harm(text), "the same text gives the same harm");
}

/// Every detector over the text, whatever the glance says.
fn without_glance(text: &str) -> Harm {
    let mut tally = Tally::default();
    let is_over = &mut || false;
    fold::find_hidden(text, &mut tally, is_over).unwrap();
    let folded = fold::fold(text, is_over).unwrap();
    let mut inner = Tally::default();
    search(&folded, glance::Glance::all(), &mut inner, is_over).unwrap();
    inner.unfold(text);
    tally.join(inner);
    tally.into_harm()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_mixture_of_marks_is_answered(text in prop_oneof![text(), spaced()]) {
        check(&text);
    }

    #[test]
    fn any_scalars_are_answered(text in prop::collection::vec(any::<char>(), 0..100)) {
        check(&text.into_iter().collect::<String>());
    }

    #[test]
    fn the_glance_hides_nothing(text in prop_oneof![text(), spaced()]) {
        prop_assert_eq!(harm(&text), without_glance(&text));
    }

    #[test]
    fn more_text_never_lowers_harm(first in spaced(), second in spaced()) {
        // Sentences of their own: joined within one, words may become other words.
        let both = format!("{first}.\n\n{second}");
        prop_assert!(harm(&both).value() >= harm(&first).value(), "{:?}", both);
    }

    #[test]
    fn case_does_not_matter_to_phrases(text in spaced()) {
        let of = |text: &str| harm(text).of(Category::Injection);
        prop_assert_eq!(of(&text.to_ascii_uppercase()), of(&text.to_ascii_lowercase()));
    }

    #[test]
    fn pieces_of_the_work_do_not_show(text in spaced(), at in 0usize..64) {
        // The text stands across a seam of two pieces.
        let filler = "z ".repeat((glance::PIECE_BYTES - at) / 2);
        let moved = harm(&format!("{filler}{text}"));
        let alone = harm(&format!("z {text}"));
        prop_assert_eq!(moved.value(), alone.value());
        prop_assert_eq!(moved.total(), alone.total());
    }
}
