//! Different words in a window that moves over the text.

/// Words of the window. Within it the share of different words does not depend on the length of
/// the text (Covington and McFall, "Cutting the Gordian knot", 2010).
const WINDOW: usize = 50;

/// The moving window.
#[derive(Debug)]
pub(super) struct Window {
    /// The last words, in a ring.
    words: [u64; WINDOW],
    /// Which of them occur again later in the window.
    recurs: [bool; WINDOW],
    read: usize,
    distinct: usize,
    /// Sum of `distinct` over all full windows, and their number.
    sum: u64,
    windows: u64,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            words: [0; WINDOW],
            recurs: [false; WINDOW],
            read: 0,
            distinct: 0,
            sum: 0,
            windows: 0,
        }
    }

    pub(super) fn push(&mut self, word: u64) {
        let at = self.read % WINDOW;
        let filled = self.read.min(WINDOW);
        if filled == WINDOW && !self.recurs[at] {
            self.distinct -= 1;
        }
        // The slot of the word that leaves is about to be overwritten: it must not be found.
        let mut found = None;
        for (slot, held) in self.words[..filled].iter().enumerate() {
            if *held == word && !self.recurs[slot] && !(filled == WINDOW && slot == at) {
                found = Some(slot);
            }
        }
        match found {
            Some(slot) => self.recurs[slot] = true,
            None => self.distinct += 1,
        }
        self.words[at] = word;
        self.recurs[at] = false;
        self.read += 1;
        if self.read >= WINDOW {
            self.sum += self.distinct as u64;
            self.windows += 1;
        }
    }

    /// Mean share of different words; of a text shorter than the window, its share.
    pub(super) fn share(&self) -> f64 {
        match (self.windows, self.read) {
            (0, 0) => 0.0,
            (0, read) => self.distinct as f64 / read as f64,
            (windows, _) => self.sum as f64 / (windows * WINDOW as u64) as f64,
        }
    }
}
