//! The closed vocabularies. A word that is taken away makes what was kept of it unreadable, so words are
//! only added.

/// A value with its sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is kept and told.
    pub value: &'static str,
    /// What else it is called; empty if nothing.
    alias: &'static str,
    /// What a model is told.
    pub sentence: &'static str,
}

impl Word {
    /// Whether `name` is the value or its alias, in any case of letters, with hyphen or space for
    /// underscore.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let plain = |byte: u8| match byte {
            b'-' | b' ' => b'_',
            byte => byte.to_ascii_lowercase(),
        };
        let is_same = |own: &str| own.bytes().map(plain).eq(name.bytes().map(plain));
        is_same(self.value) || (!self.alias.is_empty() && is_same(self.alias))
    }
}

const fn word(value: &'static str, sentence: &'static str) -> Word {
    Word { value, alias: "", sentence }
}

/// A language by its code of ISO 639-1 and its English name.
const fn language(value: &'static str, alias: &'static str, sentence: &'static str) -> Word {
    Word { value, alias, sentence }
}

pub(super) const STYLES: &[Word] = &[
    word("academic", "Write as in an academic paper."),
    word("casual", "Write in a casual tone."),
    word("concise", "Write concisely."),
    word("direct", "Come to the point without an introduction."),
    word("formal", "Write in a formal tone."),
    word("friendly", "Write in a friendly tone."),
    word("neutral", "Write in a neutral tone."),
    word("playful", "Write in a playful tone."),
    word("professional", "Write in a professional tone."),
    word("simple", "Use simple words and short sentences."),
    word("technical", "Write for readers with technical knowledge."),
];

pub(super) const VERBOSITIES: &[Word] = &[
    word("minimal", "Answer in one sentence where that is enough."),
    word("brief", "Answer in a few sentences."),
    word("medium", "Answer at medium length."),
    word("detailed", "Answer in detail."),
    word("exhaustive", "Answer in full detail, with examples."),
    word("step_by_step", "Explain step by step."),
];

pub(super) const CODE_STYLES: &[Word] = &[
    word("commented", "Comment code."),
    word("compact", "Keep code compact."),
    word("explicit", "Prefer explicit code to short code."),
    word("functional", "Write code in a functional style."),
    word("idiomatic", "Write code that is idiomatic in its language."),
    word("object_oriented", "Write code in an object-oriented style."),
    word("procedural", "Write code in a procedural style."),
    word("tested", "Write tests for code."),
    word("typed", "Annotate code with types where the language allows it."),
    word("uncommented", "Leave comments out of code."),
];

pub(super) const LANGUAGES: &[Word] = &[
    language("ar", "Arabic", "Answer in Arabic."),
    language("bg", "Bulgarian", "Answer in Bulgarian."),
    language("bn", "Bengali", "Answer in Bengali."),
    language("ca", "Catalan", "Answer in Catalan."),
    language("cs", "Czech", "Answer in Czech."),
    language("da", "Danish", "Answer in Danish."),
    language("de", "German", "Answer in German."),
    language("el", "Greek", "Answer in Greek."),
    language("en", "English", "Answer in English."),
    language("es", "Spanish", "Answer in Spanish."),
    language("et", "Estonian", "Answer in Estonian."),
    language("eu", "Basque", "Answer in Basque."),
    language("fa", "Persian", "Answer in Persian."),
    language("fi", "Finnish", "Answer in Finnish."),
    language("fr", "French", "Answer in French."),
    language("ga", "Irish", "Answer in Irish."),
    language("gl", "Galician", "Answer in Galician."),
    language("he", "Hebrew", "Answer in Hebrew."),
    language("hi", "Hindi", "Answer in Hindi."),
    language("hr", "Croatian", "Answer in Croatian."),
    language("hu", "Hungarian", "Answer in Hungarian."),
    language("hy", "Armenian", "Answer in Armenian."),
    language("id", "Indonesian", "Answer in Indonesian."),
    language("is", "Icelandic", "Answer in Icelandic."),
    language("it", "Italian", "Answer in Italian."),
    language("ja", "Japanese", "Answer in Japanese."),
    language("ka", "Georgian", "Answer in Georgian."),
    language("kk", "Kazakh", "Answer in Kazakh."),
    language("ko", "Korean", "Answer in Korean."),
    language("lt", "Lithuanian", "Answer in Lithuanian."),
    language("lv", "Latvian", "Answer in Latvian."),
    language("ms", "Malay", "Answer in Malay."),
    language("nb", "Norwegian", "Answer in Norwegian."),
    language("nl", "Dutch", "Answer in Dutch."),
    language("pl", "Polish", "Answer in Polish."),
    language("pt", "Portuguese", "Answer in Portuguese."),
    language("ro", "Romanian", "Answer in Romanian."),
    language("ru", "Russian", "Answer in Russian."),
    language("sk", "Slovak", "Answer in Slovak."),
    language("sl", "Slovenian", "Answer in Slovenian."),
    language("sq", "Albanian", "Answer in Albanian."),
    language("sr", "Serbian", "Answer in Serbian."),
    language("sv", "Swedish", "Answer in Swedish."),
    language("sw", "Swahili", "Answer in Swahili."),
    language("ta", "Tamil", "Answer in Tamil."),
    language("te", "Telugu", "Answer in Telugu."),
    language("th", "Thai", "Answer in Thai."),
    language("tr", "Turkish", "Answer in Turkish."),
    language("uk", "Ukrainian", "Answer in Ukrainian."),
    language("ur", "Urdu", "Answer in Urdu."),
    language("vi", "Vietnamese", "Answer in Vietnamese."),
    language("zh", "Chinese", "Answer in Chinese."),
];
