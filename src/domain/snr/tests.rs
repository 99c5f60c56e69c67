use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

mod grounding;

/// Paragraphs written for these tests.
const PROSE: &str = include_str!("prose.txt");

/// The constitution's threshold.
const THRESHOLD: f64 = 0.85;

fn paragraphs() -> Vec<&'static str> {
    PROSE.split("\n\n").map(str::trim_ascii).collect()
}

fn sentences() -> Vec<&'static str> {
    PROSE
        .split_inclusive(". ")
        .flat_map(str::lines)
        .map(str::trim_ascii)
        .filter(|s| s.len() > 20)
        .collect()
}

fn snr(text: &str) -> Result<Snr, Unmeasured> {
    measure(text, &[], &mut || false)
}

fn score_of(text: &str) -> f64 {
    snr(text).unwrap_or_else(|reason| panic!("{reason}: {text}")).score.value()
}

/// Small numbers in an order that only looks random.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (words::mix(self.0) % limit as u64) as usize
    }
}

fn shuffled(text: &str, seed: u64) -> String {
    let mut draw = Draw(seed);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    for at in (1..words.len()).rev() {
        words.swap(at, draw.below(at + 1));
    }
    words.join(" ")
}

fn random_letters(words: usize, seed: u64) -> String {
    let mut draw = Draw(seed);
    let mut text = String::new();
    for _ in 0..words {
        for _ in 0..2 + draw.below(9) {
            text.push(char::from(b'a' + draw.below(26) as u8));
        }
        text.push(' ');
    }
    text
}

fn salad(seed: u64) -> String {
    let mut words: Vec<&str> = PROSE
        .split_whitespace()
        .filter(|word| word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut draw = Draw(seed);
    (0..40).map(|_| words.swap_remove(draw.below(words.len()))).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_tables_are_whole() {
    assert!(tables::is_whole(tables::bytes()));
    let mut bytes = tables::bytes().to_vec();
    for at in
        [0, 7, tables::TRIGRAMS, tables::PAIRS, tables::VOCABULARY, tables::DIGEST, bytes.len() - 1]
    {
        bytes[at] ^= 1;
        assert!(!tables::is_whole(&bytes), "{at}");
        bytes[at] ^= 1;
    }
    assert!(tables::is_whole(&bytes));
    assert!(!tables::is_whole(&bytes[..bytes.len() - 1]));
    assert!(!tables::is_whole(&[]));
}

#[test]
fn the_version_names_the_tables() {
    let digest = blake3::hash(&tables::bytes()[..tables::DIGEST]).to_hex();
    assert_eq!(version(), format!("1-{}", &digest[..8]));
}

#[test]
fn the_floor_is_met_on_prose_written_for_this_test() {
    let all = paragraphs();
    assert!(all.len() >= 30);
    let passed = all.iter().filter(|text| score_of(text) >= THRESHOLD).count();
    assert!(passed * 100 >= all.len() * 95, "{passed} of {}", all.len());
    let (mut shuffles, mut reversed) = (0, 0);
    for (seed, text) in all.iter().enumerate() {
        shuffles += usize::from(score_of(&shuffled(text, seed as u64)) >= THRESHOLD);
        let words: Vec<&str> = text.split_whitespace().rev().collect();
        reversed += usize::from(score_of(&words.join(" ")) >= THRESHOLD);
    }
    assert!(shuffles * 4 <= all.len(), "{shuffles}");
    assert!(reversed * 4 <= all.len(), "{reversed}");
}

#[test]
fn random_letters_word_lists_and_repetition_fail_and_are_not_abstained_from() {
    for seed in 0..200 {
        let letters = random_letters(25 + seed as usize, seed);
        assert!(score_of(&letters) < 0.5, "{letters}");
        assert!(score_of(&salad(seed)) < 0.5);
    }
    for sentence in sentences() {
        let text = [sentence; 8].join(" ");
        assert!(score_of(&text) <= 0.5, "{text}");
    }
    for text in paragraphs() {
        assert!(score_of(&[text; 3].join("\n\n")) < THRESHOLD);
    }
}

#[test]
fn what_is_no_language_has_a_low_score() {
    for text in [
        "a".repeat(4096),
        "a ".repeat(500),
        "the of and to in is that for it as was with be by on not he his but at ".repeat(4),
        "qwerty asdf zxcv uiop hjkl bnm qazwsx edcrfv tgbyhn ujm ikol plok mijn uhb ygv tfc".into(),
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ9kZWY4YjE3NmM1ZTJhMTQ".repeat(20),
        "deadbeef0123456789abcdef".repeat(40),
        "x7f9 q2k8 z1m3 p0l5 w4n6 b8v2 c3x9 r5t1 y7u0 h2g4 j6k8 m9n3 d1s5 f0a7".repeat(3),
    ] {
        assert!(score_of(&text) < 0.5, "{text}: {:?}", snr(&text));
    }
}

#[test]
fn too_little_is_not_measured() {
    for (text, words) in [
        ("", 0),
        (" \t\r\n \u{2003}", 0),
        ("a", 1),
        ("word", 1),
        ("\u{301}\u{301}\u{301}", 0),
        ("\u{1f600}\u{1f680}", 0),
        ("{\"action\": \"deploy\", \"target\": \"edge\"}", 4),
        ("The node signs every answer before it is sent", 9),
        ("\u{dc}ber die Br\u{fc}cke", 3),
        ("... !!! ???", 3),
    ] {
        assert_eq!(snr(text), Err(Unmeasured::TooShort { words }), "{text:?}");
    }
    let numbers = "1 22 333 4.5 -6 7% ".repeat(50);
    assert_eq!(snr(&numbers), Err(Unmeasured::TooShort { words: 0 }));
}

#[test]
fn a_text_is_measured_from_twelve_words_on() {
    let text = "The node signs every answer before it is sent to the caller.";
    assert_eq!(text.split(' ').count(), WORDS_MIN);
    assert!(score_of(text) >= THRESHOLD);
    let (shorter, _) = text.rsplit_once(' ').unwrap();
    assert_eq!(snr(shorter), Err(Unmeasured::TooShort { words: 11 }));
}

#[test]
fn other_languages_and_scripts_are_not_measured() {
    for text in [
        // German, French, Spanish, Portuguese, Polish, Turkish, Dutch, Indonesian, Swahili.
        "Der Knoten unterschreibt jede Antwort, bevor sie an den Absender geschickt wird, und er \
         bewahrt eine Abschrift auf, damit sie sp\u{e4}ter gepr\u{fc}ft werden kann.",
        "Le serveur garde une copie de chaque message et la compare avec celle qui est sur le \
         disque, pour que les erreurs ne soient pas perdues dans le journal.",
        "El servidor guarda una copia de cada mensaje y la compara con la que est\u{e1} en el \
         disco, para que los errores no se pierdan cuando se reinicia.",
        "O servidor guarda uma c\u{f3}pia de cada mensagem e compara com a que est\u{e1} no disco, \
         para que os erros n\u{e3}o sejam perdidos quando ele reinicia.",
        "Serwer przechowuje kopi\u{119} ka\u{17c}dej wiadomo\u{15b}ci i por\u{f3}wnuje j\u{105} z \
         t\u{105}, kt\u{f3}ra jest na dysku, aby b\u{142}\u{119}dy nie zosta\u{142}y utracone.",
        "Sunucu her iletinin bir kopyas\u{131}n\u{131} saklar ve bunu diskteki kopya ile \
         kar\u{15f}\u{131}la\u{15f}t\u{131}r\u{131}r, b\u{f6}ylece hatalar kaybolmaz ve daha \
         sonra bulunabilir.",
        "De server bewaart een kopie van elk bericht en vergelijkt die met de kopie op de schijf, \
         zodat fouten niet verloren gaan als hij opnieuw wordt gestart.",
        "Server menyimpan salinan dari setiap pesan dan membandingkannya dengan yang ada di \
         cakram, agar kesalahan tidak hilang ketika server itu dimulai lagi.",
        "Seva huhifadhi nakala ya kila ujumbe na kuilinganisha na ile iliyo kwenye diski, ili \
         makosa yasipotee wakati seva hiyo inapoanza tena kwa mara ya pili.",
        // Russian, Greek, Arabic (right to left), Hebrew, Japanese, Chinese, Hindi.
        "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{43c}\u{438}\u{440} ",
        "\u{3b1}\u{3b2}\u{3b3} \u{3b4}\u{3b5}\u{3b6} ",
        "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{628}\u{627}\u{644}\u{639}\u{627}\u{644}\u{645} ",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{5e2}\u{5d5}\u{5dc}\u{5dd} ",
        "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{6587}\u{7ae0}\u{3067}\u{3059}\u{3002}",
        "\u{4f60}\u{597d}\u{4e16}\u{754c}\u{ff0c}",
        "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} \u{926}\u{941}\u{928}\u{93f}\u{92f}\u{93e} ",
    ] {
        let text = if text.is_ascii() || text.contains(". ") || text.ends_with('.') {
            text.to_owned()
        } else {
            text.repeat(12)
        };
        assert_eq!(snr(&text), Err(Unmeasured::UnknownLanguage), "{text}");
    }
}

#[test]
fn time_that_is_up_ends_the_measurement() {
    let text = PROSE.repeat(8);
    let mut asked = 0;
    measure(&text, &[&text], &mut || {
        asked += 1;
        false
    })
    .unwrap();
    assert!(asked >= 2 * text.len() / 4096, "{asked}");
    for limit in [1, 2, asked / 2, asked] {
        let mut questions = 0;
        let measured = measure(&text, &[&text], &mut || {
            questions += 1;
            questions >= limit
        });
        assert_eq!(measured, Err(Unmeasured::Interrupted));
        assert_eq!(questions, limit);
    }
}

#[test]
fn large_texts_of_every_kind_are_measured_or_refused() {
    const MIB: usize = 1 << 20;
    let fill = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let mut texts: Vec<String> =
        [" ", "a", "a ", ". , ; ", "\u{200b}", "\u{301}", "\u{65e5}", "0123456789abcdef"]
            .map(|piece| fill(piece, MIB))
            .into();
    texts.push(random_letters(MIB / 7, 1));
    texts.extend(
        [
            "\n",
            "A. ",
            "(",
            "-",
            "'",
            "\u{202e}a",
            "a\u{301}\u{301}\u{301}",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{645}\u{631} ",
            "1,2,",
        ]
        .map(|piece| fill(piece, MIB / 32)),
    );
    for text in texts {
        if let Ok(measured) = snr(&text) {
            assert!(measured.score.value() < 0.5, "{measured:?}");
        }
    }
    let mut large = String::new();
    for at in 0.. {
        if large.len() > MIB {
            break;
        }
        let _ = write!(large, "{} ", sentences()[at % sentences().len()]);
    }
    assert!(score_of(&large) <= 0.5, "the same sentences over and over");
}

#[test]
fn a_duplicate_sentence_is_noise_and_nothing_else() {
    let text = paragraphs()[0];
    let (first, _) = text.split_once(". ").unwrap();
    let once = snr(text).unwrap();
    let twice = snr(&format!("{text} {first}.")).unwrap();
    assert_eq!(
        (once.signal, once.diversity, once.balance),
        (twice.signal, twice.diversity, twice.balance)
    );
    assert!(twice.noise > once.noise);
    assert!(twice.score < once.score);
}

#[test]
fn hidden_characters_change_no_word_and_count_as_noise() {
    for hidden in
        ["\u{200b}", "\u{200d}", "\u{feff}", "\u{ad}", "\u{202e}", "\u{e0041}", "\u{fe0f}", "\u{1}"]
    {
        for text in paragraphs() {
            let clean = snr(text).unwrap();
            let stuffed: String =
                text.chars().flat_map(|c| [c.to_string(), hidden.to_owned()]).collect();
            let stuffed = snr(&stuffed).unwrap();
            let parts = |snr: &Snr| (snr.words, snr.signal, snr.diversity, snr.balance);
            assert_eq!(parts(&clean), parts(&stuffed), "{hidden:?}");
            assert_eq!(stuffed.noise, Score::ONE);
            assert!(stuffed.score < clean.score);
        }
    }
}

#[test]
fn look_alikes_and_disguises_fail() {
    let cyrillic = |c: char| match c {
        'a' => '\u{430}',
        'e' => '\u{435}',
        'o' => '\u{43e}',
        c => c,
    };
    let wide = |c: char| match c {
        'a'..='z' => char::from_u32(u32::from(c) - u32::from('a') + 0xFF41).unwrap(),
        c => c,
    };
    for text in paragraphs() {
        let alike: String = text.chars().map(cyrillic).collect();
        assert!(score_of(&alike) < THRESHOLD);
        let wide: String = text.chars().map(wide).collect();
        assert!(score_of(&wide) < THRESHOLD);
    }
}

#[test]
fn accents_apostrophes_and_emoji_are_no_noise() {
    let text = "The caf\u{e9} owner\u{2019}s na\u{ef}ve plan didn\u{2019}t work \u{1f468}\u{200d}\
                \u{1f469}\u{fe0f}, so she wrote a better r\u{e9}sum\u{e9} and went to the office \
                that had made the first offer.";
    let decomposed = text.replace('\u{e9}', "e\u{301}").replace('\u{ef}', "i\u{308}");
    let (one, other) = (snr(text).unwrap(), snr(&decomposed).unwrap());
    assert_eq!(one.noise, Score::ZERO);
    assert_eq!(one.score, other.score);
    assert!(one.score.value() >= THRESHOLD);
}

#[test]
fn encoded_blobs_are_noise() {
    let text = paragraphs()[1];
    for blob in
        ["QWxhZGRpbjpvcGVu1HNlc2FtZQ9kZWY4YjE3NmM1ZTJhMTQ", "0f9e8d7c6b5a49382716f5e4d3c2b1a0"]
    {
        let stuffed = format!("{text} {}", [blob; 12].concat());
        assert!(snr(&stuffed).unwrap().noise > snr(text).unwrap().noise);
        assert!(score_of(&stuffed) < THRESHOLD);
    }
}

const SOURCE: &str = "The log keeps every record for 30 days. A record that was damaged is restored \
    from a replica. Replicas are compared each night, and differences are reported to the owner.";

#[test]
fn evidence_is_canonical_json() {
    for text in paragraphs() {
        let evidence = measure(text, &[SOURCE, text], &mut || false).unwrap().evidence();
        let written = evidence.to_string();
        assert_eq!(serde_json_canonicalizer::to_string(&evidence).unwrap(), written);
        assert!(written.len() < 512, "{written}");
    }
}

#[test]
fn golden_values_are_the_same_everywhere() {
    let [first, second, third] = [paragraphs()[0], paragraphs()[4], SOURCE];
    let texts = [
        first.to_owned(),
        second.to_owned(),
        third.to_owned(),
        shuffled(first, 7),
        random_letters(40, 7),
        salad(7),
        format!("{first} {first}"),
        format!("{second} 0f9e8d7c6b5a49382716f5e4d3c2b1a00f9e8d7c6b5a49382716f5e4d3c2b1a0"),
    ];
    let mut all = String::new();
    for text in texts {
        let measured = measure(&text, &[first], &mut || false).unwrap();
        let alone = snr(&text).unwrap();
        let scores = (alone.score.value(), measured.score.value());
        let _ = writeln!(all, "{} {} {}", scores.0, scores.1, measured.evidence());
    }
    assert_eq!(all, include_str!("golden.txt"));
}

proptest! {
    #[test]
    fn any_text_gives_a_score_or_a_reason(text in ".*", source in ".*") {
        for text in [text.clone(), text.repeat(20)] {
            if let Ok(measured) = measure(&text, &[&source], &mut || false) {
                prop_assert!((0.0..=1.0).contains(&measured.score.value()));
            }
            prop_assert_eq!(snr(&text), snr(&text));
        }
    }

    #[test]
    fn any_bytes_read_as_text_give_a_score_or_a_reason(bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = snr(&text.repeat(8));
    }

    #[test]
    fn a_duplicate_sentence_never_raises_the_score(
        picks in prop::collection::vec(0_usize..1000, 2..14),
        which: prop::sample::Index,
        at: prop::sample::Index,
    ) {
        let all = sentences();
        let mut text: Vec<&str> = picks.iter().map(|pick| all[pick % all.len()]).collect();
        let Ok(before) = snr(&text.join(" ")) else { return Ok(()) };
        let copy = text[which.index(text.len())];
        text.insert(at.index(text.len() + 1), copy);
        let after = snr(&text.join(" ")).unwrap();
        prop_assert!(after.score <= before.score, "{before:?} {after:?}");
        prop_assert!(after.noise > before.noise || before.noise == Score::ONE);
    }

    #[test]
    fn hidden_characters_never_raise_the_score(
        paragraph in 0_usize..30,
        places in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6), 1..20),
    ) {
        let clean = snr(paragraphs()[paragraph]).unwrap();
        let mut text: Vec<char> = paragraphs()[paragraph].chars().collect();
        for (at, which) in places {
            let hidden = ['\u{200b}', '\u{200c}', '\u{feff}', '\u{202e}', '\u{2066}', '\u{ad}'];
            text.insert(at.index(text.len() + 1), hidden[which]);
        }
        let stuffed = snr(&text.into_iter().collect::<String>()).unwrap();
        prop_assert_eq!(stuffed.words, clean.words);
        prop_assert_eq!(stuffed.signal, clean.signal);
        prop_assert!(stuffed.score <= clean.score);
    }

    #[test]
    fn space_at_the_end_changes_nothing(paragraph in 0_usize..30, space in "[ \t\r\n]{0,20}") {
        let text = paragraphs()[paragraph];
        prop_assert_eq!(snr(&format!("{text}{space}")), snr(text));
    }

    #[test]
    fn shuffling_words_lowers_the_order_of_words(paragraph in 0_usize..30, seed: u64) {
        let text = paragraphs()[paragraph];
        let (clean, mixed) = (snr(text).unwrap(), snr(&shuffled(text, seed)).unwrap());
        prop_assert!(mixed.figures.order_bits < clean.figures.order_bits);
        prop_assert!(mixed.signal <= clean.signal);
    }
}
