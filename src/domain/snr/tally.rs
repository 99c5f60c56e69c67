//! Counts a text, sentence by sentence. A sentence that came before is counted as repeated and
//! adds nothing else, so that repeating what is good cannot make a text better.

use super::classes::{CAPITAL, END, Splitter, before_first, has_capital_mark, mark, sticks};
use super::diversity::Window;
use super::grounding::{Index, Set, Term, term};
use super::noise::{Runs, SPAN_WORDS};
use super::words::{Counts, Kind, Mark, Over, Token, Word, mix, scan};
use super::{Figures, rounded, tables};

/// Letters of a word of English, roughly.
const WORD_LETTERS: usize = 5;

/// Distinct sentences that are remembered; of a text with more, later ones count as new.
const SENTENCES_MAX: usize = 1 << 16;

/// A sentence is cut at this many words; the splitter cuts earlier.
const TERMS_MAX: usize = 128;

/// Sixteenths of a bit per letter that no language written in Latin letters reaches by the trigrams
/// of English. Random letters cost more.
const MOST: u64 = 88;

/// Sums over one sentence, or over all that were counted.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    words: usize,
    natural: usize,
    function: usize,
    /// Function words of other languages.
    others: usize,
    letters: u64,
    /// Cost of the letters and weight of the pairs, in sixteenths of a bit.
    cost: u64,
    pairs: u64,
    order: i64,
}

/// What has been counted.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    /// Over distinct sentences.
    sums: Sums,
    sentences: usize,
    /// Words of all sentences, numbers included, and those that can be measured.
    words: usize,
    measurable: usize,
    /// Parts of encoded data.
    blobs: usize,
    /// Words in sentences that came before.
    repeated: usize,
    recurring: usize,
    window: Window,
    judged: usize,
    supported: usize,
    has_sources: bool,
}

impl Tally {
    pub(super) fn of(
        text: &str,
        index: Option<&Index>,
        is_over: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Over> {
        let mut counter = Counter {
            tally: Self {
                counts: Counts::default(),
                sums: Sums::default(),
                sentences: 0,
                words: 0,
                measurable: 0,
                blobs: 0,
                repeated: 0,
                recurring: 0,
                window: Window::new(),
                judged: 0,
                supported: 0,
                has_sources: index.is_some(),
            },
            index,
            splitter: Splitter::default(),
            sentence: Sums::default(),
            last: 0,
            has_ended: false,
            hash: 0,
            hashes: [0; TERMS_MAX],
            terms: Vec::with_capacity(if index.is_some() { TERMS_MAX } else { 0 }),
            seen: Set::new((text.len() / 16).clamp(16, SENTENCES_MAX)),
            runs: Runs::new(text.len()),
        };
        let counts = scan(text, is_over, &mut |token| counter.take(&token))?;
        counter.end_sentence();
        counter.tally.counts = counts;
        counter.tally.recurring = counter.runs.repeated();
        Ok(counter.tally)
    }

    /// Words, names and numbers.
    pub(super) const fn words(&self) -> usize {
        self.words
    }

    /// Words that something can be said about: all but numbers.
    pub(super) const fn measurable(&self) -> usize {
        self.measurable
    }

    /// Share of the sentences that the sources support, of those that say something.
    pub(super) fn grounding(&self) -> Option<f64> {
        self.has_sources.then(|| share(self.supported, self.judged))
    }

    /// Whether script, function words or accents are those of another language.
    pub(super) fn is_of_another_language(&self) -> bool {
        let counts = &self.counts;
        let is_of_another_script = counts.foreign > counts.latin;
        let Sums { natural, function, others, cost, letters, .. } = self.sums;
        let speaks_another = others >= 3 && others > function && others * 12 >= natural;
        let is_accented = counts.marked * 40 > counts.latin && function * 6 < natural;
        let is_pronounced = cost < MOST * letters;
        is_of_another_script || (is_pronounced && (speaks_another || is_accented))
    }

    pub(super) fn figures(&self) -> Figures {
        let sums = &self.sums;
        let per = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        Figures {
            letter_bits: rounded(per(sums.cost as f64 / 16.0, sums.letters as usize)),
            function_share: rounded(share(sums.function, sums.natural)),
            order_bits: rounded(per(sums.order as f64 / 16.0, sums.pairs as usize)),
            type_token: rounded(self.window.share()),
            natural_share: rounded(share(sums.natural, sums.words)),
            sentence_words: rounded(per(sums.words as f64, self.sentences)),
            repeated: rounded(share(self.repeated, self.words)),
            recurring: rounded(share(self.recurring, sums.words)),
            // Noise is counted everywhere and set against the distinct sentences, so that
            // repeating clean ones cannot thin it.
            invisible: rounded(share(self.counts.invisible, sums.words * WORD_LETTERS)),
            alike: rounded(share(self.counts.alike, sums.words)),
            blob: rounded(share(self.blobs, sums.words)),
            odd_spans: rounded(share(self.counts.odd_spans * SPAN_WORDS, sums.words)),
        }
    }
}

/// A share, at most 1.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// Counts sentences into a tally.
struct Counter<'a> {
    tally: Tally,
    index: Option<&'a Index>,
    splitter: Splitter,
    /// Of the sentence being read.
    sentence: Sums,
    last: u8,
    has_ended: bool,
    hash: u64,
    hashes: [u64; TERMS_MAX],
    terms: Vec<Term>,
    seen: Set,
    runs: Runs,
}

impl Counter<'_> {
    fn take(&mut self, token: &Token<'_>) {
        if self.splitter.ends_before(token) {
            self.end_sentence();
        }
        match token {
            Token::Word(word) => self.word(word),
            // Before the first word there is no order yet.
            Token::Mark(_) if self.sentence.words == 0 => {}
            Token::Mark(sign) => {
                self.follow(mark(*sign));
                self.has_ended = *sign == Mark::Stop;
            }
            Token::Break => {}
        }
    }

    fn word(&mut self, word: &Word<'_>) {
        let (class, _) = tables::class(word);
        if self.sentence.words == 0 {
            self.last = before_first(word);
        }
        if has_capital_mark(word, self.sentence.words == 0) {
            self.follow(CAPITAL);
        }
        self.follow(class);
        self.has_ended = false;
        if self.sentence.words < TERMS_MAX {
            self.hashes[self.sentence.words] = word.hash;
        }
        if self.index.is_some() && self.terms.len() < TERMS_MAX {
            self.terms.push(term(word));
        }
        self.hash = mix(self.hash ^ word.hash);
        let sums = &mut self.sentence;
        sums.words += 1;
        self.tally.words += 1;
        self.tally.measurable += usize::from(word.kind != Kind::Number);
        self.tally.blobs += usize::from(word.kind == Kind::Blob);
        if word.kind == Kind::Natural {
            sums.natural += 1;
            let is_function = tables::is_function(class);
            sums.function += usize::from(is_function);
            sums.others += usize::from(!is_function && tables::is_of_another_language(word.hash));
            // Names in capitals are spelled in ways that no table of words knows.
            if !word.is_upper || word.letters.len() > 6 {
                let (cost, letters) = tables::cost(word.letters);
                sums.cost += u64::from(cost);
                sums.letters += u64::from(letters);
            }
        }
    }

    fn follow(&mut self, class: u8) {
        // Marks that stick to the word before them say nothing about the order of words.
        if !sticks(class) {
            self.sentence.order += i64::from(tables::pair(self.last, class));
            self.sentence.pairs += 1;
        }
        self.last = class;
    }

    fn end_sentence(&mut self) {
        if self.sentence.words == 0 {
            return;
        }
        if !self.has_ended {
            self.follow(END);
        }
        let sentence = std::mem::take(&mut self.sentence);
        let hash = std::mem::take(&mut self.hash);
        self.has_ended = false;
        let tally = &mut self.tally;
        if self.seen.insert(hash) {
            tally.sentences += 1;
            tally.sums.add(&sentence);
            let words = sentence.words.min(TERMS_MAX);
            for hash in &self.hashes[..words] {
                tally.window.push(*hash);
                self.runs.push(*hash);
            }
            // Words thrown together are much further below; few sentences of people are.
            let is_ordered = sentence.order * 10 > -3 * 16 * sentence.pairs as i64;
            let judged = self.index.and_then(|index| index.supports(&self.terms, is_ordered));
            if let Some(is_supported) = judged {
                tally.judged += 1;
                tally.supported += usize::from(is_supported);
            }
        } else {
            tally.repeated += sentence.words;
        }
        self.terms.clear();
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.words += other.words;
        self.natural += other.natural;
        self.function += other.function;
        self.others += other.others;
        self.letters += other.letters;
        self.cost += other.cost;
        self.pairs += other.pairs;
        self.order += other.order;
    }
}
