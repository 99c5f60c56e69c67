use proptest::prelude::*;

use super::*;

fn grounding(text: &str, sources: &[&str]) -> f64 {
    measure(text, sources, &mut || false).unwrap().grounding.unwrap().value()
}

#[test]
fn supported_sentences_raise_grounding_and_invented_ones_do_not() {
    let faithful = "A damaged record is restored from a replica. The log keeps every record for \
                    30 days, and replicas are compared each night.";
    assert_eq!(grounding(faithful, &[SOURCE]), 1.0);
    let invented = "A damaged volcano is restored from a sandwich. The orchestra keeps every \
                    violin for 30 days, and pianos are painted each night.";
    assert_eq!(grounding(invented, &[SOURCE]), 0.0);
    let half = "A damaged record is restored from a replica. The orchestra keeps every violin for \
                a month in the cellar.";
    assert_eq!(grounding(half, &[SOURCE]), 0.5);
}

#[test]
fn numbers_and_negations_must_match() {
    let other_number = "The log keeps every record for 31 days. A damaged record is then restored \
                        from a replica.";
    assert_eq!(grounding(other_number, &[SOURCE]), 0.5);
    let negated = "The log keeps every record for 30 days. A damaged record is not restored from \
                   a replica.";
    assert_eq!(grounding(negated, &[SOURCE]), 0.5);
}

#[test]
fn without_sources_a_score_is_not_grounded() {
    let text = paragraphs()[2];
    for sources in [&[][..], &[""], &["  \n", ""]] {
        let measured = measure(text, sources, &mut || false).unwrap();
        assert!(!measured.is_grounded());
        assert_eq!(measured, snr(text).unwrap());
    }
    let measured = measure(text, &[SOURCE], &mut || false).unwrap();
    assert!(measured.is_grounded());
    assert_eq!(measured.grounding, Some(Score::ZERO));
    assert_eq!(measured.score, Score::ZERO);
}

#[test]
fn a_text_supports_itself() {
    for text in paragraphs() {
        assert_eq!(grounding(text, &["Something else.", text]), 1.0, "{text}");
    }
}

proptest! {
    #[test]
    fn keyword_padding_never_raises_grounding(
        paragraph in 0_usize..30,
        keywords in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        at: prop::sample::Index,
    ) {
        let text = paragraphs()[paragraph];
        const KEYWORDS: [&str; 12] = [
            "log", "record", "damaged", "restored", "replica", "replicas", "compared", "night",
            "differences", "reported", "owner", "30",
        ];
        let padding: Vec<&str> = keywords.iter().map(|keyword| *keyword.get(&KEYWORDS)).collect();
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let before = grounding(text, &[SOURCE]);
        for (offset, word) in padding.iter().enumerate() {
            words.insert((at.index(words.len() + 1) + offset).min(words.len()), word);
        }
        prop_assert!(grounding(&words.join(" "), &[SOURCE]) <= before);
        let appended = format!("{text} {}.", padding.join(" "));
        prop_assert!(grounding(&appended, &[SOURCE]) <= before, "{appended}");
    }
}
