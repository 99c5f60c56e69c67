//! The experience ledger: a bounded chain of episodes that can be checked and searched.
//!
//! Each episode is hashed, and each link hashes the link before it and the episode. When the ledger
//! is full, the episodes that matter least lose their content and keep their hash, so the chain
//! verifies as before; when it is long as well, its oldest links become the base from which the rest
//! verifies. The hashes are those of existing nodes. They cover what was done and how well, not the
//! embedding and the summary, which only help to find an episode.

mod recall;

use std::collections::VecDeque;

use crate::domain::bytes;
use crate::domain::score::Score;

pub use recall::Query;

/// Put before an episode when it is hashed.
const EPISODE_TAG: &[u8] = b"bizra-sel-v1:";

/// Put before a link when it is hashed.
const CHAIN_TAG: &[u8] = b"bizra-sel-chain-v1:";

/// What the first link follows.
pub const GENESIS: &str = "genesis";

/// Episodes with their content: as many as existing nodes keep.
pub const EPISODES_MAX: usize = 10_000;

/// Links of the chain, with content or without: some 150 bytes each.
pub const LINKS_MAX: usize = 40_000;

/// Bytes of one episode, all of its texts together.
pub const EPISODE_BYTES_MAX: usize = 64 * 1024;

/// Actions of one episode.
pub const ACTIONS_MAX: usize = 256;

/// Numbers of an embedding: more than any embedder in use gives.
pub const EMBEDDING_MAX: usize = 4096;

/// What was done in an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its kind.
    pub kind: String,
    /// What it was.
    pub description: String,
    /// Whether it succeeded.
    pub is_success: bool,
    /// Microseconds it took.
    pub duration_us: u64,
}

/// What is to be remembered. The caller reads the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// What it was about; searched.
    pub context: String,
    /// Names the graph of thoughts that led to it.
    pub graph_hash: String,
    /// Nodes of that graph.
    pub graph_nodes: u32,
    /// What was done, at most 256.
    pub actions: Vec<Action>,
    /// Its signal-to-noise score.
    pub snr: Score,
    /// Its Ihsan score.
    pub ihsan: Score,
    /// Whether the SNR gate passed, as the caller says.
    pub is_snr_ok: bool,
    /// The context as a vector, to be found by.
    pub embedding: Option<Vec<f32>>,
    /// The answer in short.
    pub summary: Option<String>,
}

/// An episode of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its number, from 0 without a gap.
    pub sequence: u64,
    /// Digest of what it says, 64 hex digits.
    pub episode_hash: String,
    /// Digest of the link before it and of `episode_hash`, 64 hex digits.
    pub chain_hash: String,
    /// What it says; `None` once it was let go.
    pub content: Option<Draft>,
}

/// Why something is no episode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Its texts are too long.
    #[error("an episode has at most {EPISODE_BYTES_MAX} bytes, and this has {0}")]
    TooLong(usize),
    /// It has too many actions.
    #[error("an episode has at most {ACTIONS_MAX} actions, and this has {0}")]
    Actions(usize),
    /// The embedding is empty, too long, zero or not finite.
    #[error("an embedding has 1 to {EMBEDDING_MAX} finite numbers that are not all zero")]
    Embedding,
    /// The number of results.
    #[error("a search has 1 to {EPISODES_MAX} results")]
    Limit,
}

/// The ledger. It is kept in memory only.
#[derive(Clone, Debug)]
pub struct Ledger {
    links: VecDeque<Episode>,
    /// The link before the first that is here.
    base: String,
    /// Episodes with content.
    whole: usize,
    distillations: u64,
    episodes_max: usize,
    links_max: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::with_limits(EPISODES_MAX, LINKS_MAX)
    }
}

impl Ledger {
    /// An empty ledger with limits of its own: at most `episodes_max` episodes with content, at
    /// least one, and `links_max` links, at least twice as many.
    pub fn with_limits(episodes_max: usize, links_max: usize) -> Self {
        let episodes_max = episodes_max.max(1);
        Self {
            links: VecDeque::new(),
            base: GENESIS.to_owned(),
            whole: 0,
            distillations: 0,
            episodes_max,
            links_max: links_max.max(episodes_max * 2),
        }
    }

    /// Adds an episode to the end of the chain.
    ///
    /// # Errors
    /// [`LedgerError`], for what is larger than an episode may be.
    pub fn commit(&mut self, draft: Draft) -> Result<&Episode, LedgerError> {
        draft.validate()?;
        let sequence = self.next_sequence();
        let episode_hash = bytes::to_hex(blake3::hash(&preimage(sequence, &draft)).as_bytes());
        let chain_hash = link(self.chain_head(), &episode_hash);
        if self.whole == self.episodes_max {
            self.distill();
        }
        if self.links.len() == self.links_max {
            self.fold();
        }
        self.whole += 1;
        self.links.push_back(Episode { sequence, episode_hash, chain_hash, content: Some(draft) });
        Ok(&self.links[self.links.len() - 1])
    }

    /// The last link, [`GENESIS`] before the first.
    pub fn chain_head(&self) -> &str {
        self.links.back().map_or(&self.base, |episode| &episode.chain_hash)
    }

    /// The number of the next episode.
    pub fn next_sequence(&self) -> u64 {
        self.links.back().map_or(0, |episode| episode.sequence + 1)
    }

    /// How often content was let go.
    pub fn distillations(&self) -> u64 {
        self.distillations
    }

    /// Episodes with content.
    pub fn len(&self) -> usize {
        self.whole
    }

    /// Whether nothing was committed yet.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The episodes that still say something, oldest first.
    pub fn episodes(&self) -> impl Iterator<Item = (&Episode, &Draft)> {
        self.links.iter().filter_map(|episode| Some((episode, episode.content.as_ref()?)))
    }

    /// Computes every hash again: each episode that still has its content, and every link.
    pub fn is_intact(&self) -> bool {
        let mut before = self.base.as_str();
        let mut expected = self.links.front().map_or(0, |first| first.sequence);
        self.links.iter().all(|episode| {
            let is_told = episode.content.as_ref().is_none_or(|draft| {
                let hash = blake3::hash(&preimage(episode.sequence, draft));
                bytes::to_hex(hash.as_bytes()) == episode.episode_hash
            });
            let is_linked = link(before, &episode.episode_hash) == episode.chain_hash;
            let is_next = episode.sequence == expected;
            before = &episode.chain_hash;
            expected += 1;
            is_told && is_linked && is_next
        })
    }

    /// Lets go of a quarter of the content: of the older half, what mattered less.
    fn distill(&mut self) {
        let mut older: Vec<(usize, Score)> = self
            .links
            .iter()
            .enumerate()
            .filter_map(|(at, episode)| Some((at, episode.content.as_ref()?.importance())))
            .take(self.whole.div_ceil(2))
            .collect();
        // Of those that matter alike the oldest go first.
        older.sort_by_key(|(at, importance)| (*importance, *at));
        older.truncate(self.whole.div_ceil(4));
        for (at, _) in &older {
            self.links[*at].content = None;
        }
        self.whole -= older.len();
        self.distillations += 1;
    }

    /// Makes the oldest quarter of the links the base.
    fn fold(&mut self) {
        for episode in self.links.drain(..self.links_max.div_ceil(4)) {
            self.whole -= usize::from(episode.content.is_some());
            self.base = episode.chain_hash;
        }
    }
}

impl Draft {
    fn validate(&self) -> Result<(), LedgerError> {
        let actions = self.actions.iter();
        let actions: usize = actions.map(|it| it.kind.len() + it.description.len()).sum();
        let summary = self.summary.as_ref().map_or(0, String::len);
        let bytes = self.context.len() + self.graph_hash.len() + actions + summary;
        if bytes > EPISODE_BYTES_MAX {
            return Err(LedgerError::TooLong(bytes));
        }
        if self.actions.len() > ACTIONS_MAX {
            return Err(LedgerError::Actions(self.actions.len()));
        }
        self.embedding.as_deref().map_or(Ok(()), recall::check)
    }

    /// How much it mattered: both scores together.
    fn importance(&self) -> Score {
        Score::try_from(self.snr.value() * self.ihsan.value()).unwrap_or(Score::ZERO)
    }
}

/// The bytes of an episode that are hashed.
fn preimage(sequence: u64, draft: &Draft) -> Vec<u8> {
    let mut out = EPISODE_TAG.to_vec();
    out.extend(sequence.to_le_bytes());
    out.extend(draft.timestamp_s.to_le_bytes());
    text(&mut out, &draft.context);
    text(&mut out, &draft.graph_hash);
    out.extend(draft.graph_nodes.to_le_bytes());
    out.extend(count(draft.actions.len()));
    for action in &draft.actions {
        text(&mut out, &action.kind);
        text(&mut out, &action.description);
        out.push(u8::from(action.is_success));
        out.extend(action.duration_us.to_le_bytes());
    }
    out.extend(millionths(draft.snr));
    out.extend(millionths(draft.ihsan));
    out.push(u8::from(draft.is_snr_ok));
    // No feedback, no tokens, no efficiency: nobody gives them here.
    out.push(0);
    out.extend(0_u64.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(count(text.len()));
    out.extend(text.as_bytes());
}

/// Lengths are bounded far below what 32 bits hold.
fn count(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a score is in 0..=1")]
fn millionths(score: Score) -> [u8; 4] {
    ((score.value() * 1e6) as u32).to_le_bytes()
}

fn link(before: &str, episode_hash: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CHAIN_TAG).update(before.as_bytes()).update(b":").update(episode_hash.as_bytes());
    bytes::to_hex(hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests;
