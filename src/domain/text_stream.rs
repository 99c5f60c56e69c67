//! Turns the bytes of tokens into text that may be shown at once.
//!
//! A token may end inside a character and a stop string may begin in one token and end in another.
//! Whatever could still turn out to be either is held back, so that nothing that was shown is ever
//! wrong: the text is the same however the bytes were cut into tokens.

/// What a push made certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Text that is certain now; may be empty.
    pub text: String,
    /// Whether a stop string came. No more may be pushed then.
    pub is_stopped: bool,
}

/// Assembles UTF-8 and looks for stop strings.
///
/// Holds back fewer bytes than the longest stop string has, and at most three of a character.
#[derive(Clone, Debug)]
pub struct TextStream {
    stops: Vec<String>,
    /// The begin of a character.
    partial: Vec<u8>,
    /// Text that may be the begin of a stop string.
    held: String,
    is_stopped: bool,
}

impl TextStream {
    /// A stream that ends at any of `stops`. Empty stop strings are ignored.
    #[must_use]
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, partial: Vec::new(), held: String::new(), is_stopped: false }
    }

    /// Takes the bytes of one token. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// Of several stop strings the one that is complete first counts, and of those that are
    /// complete at the same character the longest.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        if self.is_stopped {
            return Step { text: String::new(), is_stopped: true };
        }
        self.partial.extend_from_slice(bytes);
        let searched = self.held.len();
        decode(&mut self.partial, &mut self.held);
        if let Some(start) = self.first_stop(searched) {
            self.is_stopped = true;
            self.held.truncate(start);
            self.partial.clear();
            return Step { text: std::mem::take(&mut self.held), is_stopped: true };
        }
        let certain = self.held.len() - self.doubtful();
        let rest = self.held.split_off(certain);
        Step { text: std::mem::replace(&mut self.held, rest), is_stopped: false }
    }

    /// What was held back and no stop string; an unfinished character becomes U+FFFD.
    #[must_use]
    pub fn finish(mut self) -> Step {
        if self.is_stopped || self.partial.is_empty() {
            return Step { text: self.held, is_stopped: self.is_stopped };
        }
        let searched = self.held.len();
        self.held.push(char::REPLACEMENT_CHARACTER);
        let stop = self.first_stop(searched);
        if let Some(start) = stop {
            self.held.truncate(start);
        }
        Step { text: self.held, is_stopped: stop.is_some() }
    }

    /// Where the stop string begins that ends first, if one ends after byte `searched`.
    fn first_stop(&self, searched: usize) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let from = (searched + 1).saturating_sub(stop.len());
            let from = (0..=from).rev().find(|&at| self.held.is_char_boundary(at))?;
            let start = from + self.held.get(from..)?.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_end, start)| start)
    }

    /// How many bytes at the end may be the begin of a stop string.
    fn doubtful(&self) -> usize {
        let longest = |stop: &String| {
            let most = self.held.len().min(stop.len() - 1);
            (1..=most).rev().find(|&n| self.held.as_bytes().ends_with(&stop.as_bytes()[..n]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// Moves every whole character from `bytes` to `text`; leaves the begin of a character.
fn decode(bytes: &mut Vec<u8>, text: &mut String) {
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        done += chunk.valid().len();
        let is_last = done + chunk.invalid().len() == bytes.len();
        if chunk.invalid().is_empty() || is_last && is_begin_of_char(chunk.invalid()) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        done += chunk.invalid().len();
    }
    bytes.drain(..done);
}

/// Whether more bytes could make a character of these.
fn is_begin_of_char(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = TextStream::new(&stops);
        let mut texts = Vec::new();
        for token in tokens {
            let step = stream.push(token);
            texts.push(step.text);
            if step.is_stopped {
                return (texts, true);
            }
        }
        let last = stream.finish();
        texts.push(last.text);
        (texts, last.is_stopped)
    }

    #[test]
    fn text_without_stop_strings_passes_at_once() {
        assert_eq!(
            run(&[], &[b"one ", b"two"]),
            (vec!["one ".into(), "two".into(), String::new()], false)
        );
    }

    #[test]
    fn a_character_split_over_tokens_is_held_back_until_whole() {
        let (texts, _) = run(&[], &[b"a\xe2", b"\x82", b"\xacb"]);
        assert_eq!(texts, ["a", "", "\u{20ac}b", ""]);
    }

    #[test]
    fn an_unfinished_character_at_the_end_becomes_a_replacement() {
        let (texts, _) = run(&[], &[b"a\xe2\x82"]);
        assert_eq!(texts, ["a", "\u{fffd}"]);
    }

    #[test]
    fn bytes_that_are_no_text_become_replacements() {
        let (texts, _) = run(&[], &[b"a\xff\xfeb"]);
        assert_eq!(texts, ["a\u{fffd}\u{fffd}b", ""]);
    }

    #[test]
    fn a_stop_string_split_over_tokens_is_never_shown() {
        let (texts, is_stopped) = run(&["\nUser:"], &[b"yes", b"\n", b"Us", b"er", b": no"]);
        assert_eq!((texts.concat(), is_stopped), ("yes".to_owned(), true));
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown_later() {
        let (texts, is_stopped) = run(&["END"], &[b"an E", b"N", b"emy"]);
        assert_eq!(texts, ["an ", "", "ENemy", ""]);
        assert!(!is_stopped);
    }

    #[test]
    fn a_begun_stop_string_is_shown_at_the_end() {
        assert_eq!(run(&["END"], &[b"the EN"]).0, ["the ", "EN"]);
    }

    #[test]
    fn of_two_stop_strings_the_first_complete_one_counts() {
        assert_eq!(run(&["abcd", "bc"], &[b"abcd"]).0.concat(), "a");
        assert_eq!(run(&["abc", "bc"], &[b"xabc"]).0.concat(), "x");
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        assert_eq!(run(&[""], &[b"a", b"b"]), (vec!["a".into(), "b".into(), String::new()], false));
    }

    proptest! {
        #[test]
        fn the_text_does_not_depend_on_how_the_bytes_were_cut(
            bytes in prop::collection::vec(
                prop_oneof![Just(b'a'), Just(b'b'), Just(0xe2), Just(0x82), Just(0xac), Just(0xff)],
                0..40,
            ),
            cuts in prop::collection::vec(0usize..40, 0..8),
            stops in prop::collection::vec("[ab\u{20ac}\u{fffd}]{1,4}", 0..4),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (cut, cut_stopped) = run(&stops, &pieces);
            let (whole, whole_stopped) = run(&stops, &[&bytes]);
            let cut = cut.concat();
            prop_assert_eq!(&cut, &whole.concat());
            prop_assert_eq!(cut_stopped, whole_stopped);
            for stop in &stops {
                prop_assert!(!cut.contains(stop));
            }
            let text = String::from_utf8_lossy(&bytes);
            prop_assert!(text.starts_with(cut.as_str()));
            prop_assert!(cut_stopped || cut == text);
        }
    }
}
