//! Why something cannot be done with patterns.

use crate::domain::json::JsonError;
use crate::domain::pattern::{
    CONTENT_BYTES_MAX, Confidence, DIMENSIONS_MAX, EMBEDDER_CHARS_MAX, PatternId, RECALL_MAX,
    SOURCE_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, record,
};

/// Why something cannot be learned, recalled or changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// The content is empty or too long.
    #[error("content has {found} bytes, and 1 to {CONTENT_BYTES_MAX} are allowed")]
    Content {
        /// How many.
        found: usize,
    },
    /// Too many tags.
    #[error("{found} tags, and at most {TAGS_MAX} are allowed")]
    Tags {
        /// How many.
        found: usize,
    },
    /// A tag is empty, too long, or has control characters.
    #[error("a tag has 1 to {TAG_CHARS_MAX} characters and no control characters")]
    Tag,
    /// The source's name has another form.
    #[error("source has 1 to {SOURCE_CHARS_MAX} of: letters, digits, . _ : -")]
    Source,
    /// The embedder's name, version or dimension is none.
    #[error(
        "embedder has a name of 1 to {EMBEDDER_CHARS_MAX} characters and a dimension of 1 to \
         {DIMENSIONS_MAX}"
    )]
    Embedder,
    /// The embedding has not the dimension of its embedder.
    #[error("embedding has {found} numbers, and its embedder gives {expected}")]
    Dimension {
        /// How many.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A number in the embedding is not finite.
    #[error("embedding[{at}] is not a finite number")]
    Number {
        /// Which one.
        at: usize,
    },
    /// Every number of the embedding is zero, or nearly: it has no direction.
    #[error("the embedding is zero, so it has no direction")]
    Zero,
    /// Neither a text nor an embedding was given, or both.
    #[error("give either a text or an embedding with its embedder")]
    Either,
    /// More at once than may be.
    #[error("limit is 1 to {RECALL_MAX}")]
    Limit,
    /// Not a similarity.
    #[error("min_similarity is a number between -1 and 1")]
    Similarity,
    /// There are as many embedders as may be.
    #[error("patterns of {max} embedders are held, which is the most")]
    Embedders {
        /// The limit.
        max: usize,
    },
    /// There is no such pattern.
    #[error("there is no pattern {0}")]
    Unknown(PatternId),
    /// Nothing may be let go to make room.
    #[error("{what} are full of patterns that are pinned or elevated, so nothing is let go")]
    Full {
        /// What is full.
        what: &'static str,
    },
    /// It alone is larger than all of them may be.
    #[error("it takes {bytes} bytes, and {what} may have {max}")]
    TooLarge {
        /// What it takes.
        bytes: u64,
        /// The limit.
        max: u64,
        /// Whose.
        what: &'static str,
    },
    /// A signed feedback came with a number that is not above the last one of its key.
    #[error("this key has given feedback number {last} on this pattern; the next has a higher one")]
    Stale {
        /// The last one.
        last: u64,
    },
    /// As many keys as may have given feedback on one pattern.
    #[error("{max} keys have given feedback on this pattern, which is the most")]
    Signers {
        /// The limit.
        max: usize,
    },
    /// The signature is not of this key over this feedback.
    #[error("the feedback is not signed by this key")]
    Signature,
    /// The number of a signed feedback is none.
    #[error("number is a whole number from 1 on, exact in JSON")]
    FeedbackNumber,
    /// It is not sure enough, or not by enough others, to be put to the vote.
    #[error(
        "not a candidate: confidence {confidence}, {positives} positive feedbacks signed by {signers} \
         keys; {least} by {keys} keys and a confidence of {sure} are needed",
        least = record::POSITIVES_MIN,
        keys = record::SIGNERS_MIN,
        sure = Confidence::ELEVATION.value()
    )]
    NoCandidate {
        /// As it is now.
        confidence: f64,
        /// Signed ones.
        positives: u64,
        /// Who signed them.
        signers: usize,
    },
    /// As many as may wait for a decision.
    #[error("{max} patterns wait for a decision, which is the most")]
    Waiting {
        /// The limit.
        max: usize,
    },
    /// It has no canonical form.
    #[error("not a pattern: {0}")]
    Json(#[from] JsonError),
}

impl PatternError {
    /// The member of the request that is wrong.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Content { .. } => Some("content"),
            Self::Tags { .. } | Self::Tag => Some("tags"),
            Self::Source => Some("source"),
            Self::Embedder | Self::Embedders { .. } => Some("embedder"),
            Self::Dimension { .. } | Self::Number { .. } | Self::Zero => Some("embedding"),
            Self::Limit => Some("limit"),
            Self::Similarity => Some("min_similarity"),
            Self::Signature => Some("signed.signature"),
            Self::FeedbackNumber | Self::Stale { .. } => Some("signed.number"),
            Self::Either
            | Self::Unknown(_)
            | Self::Full { .. }
            | Self::TooLarge { .. }
            | Self::Signers { .. }
            | Self::NoCandidate { .. }
            | Self::Waiting { .. }
            | Self::Json(_) => None,
        }
    }

    /// The code by which programs tell it from others, the same at every door.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Content { .. } => "INVALID_CONTENT",
            Self::Tags { .. } | Self::Tag => "INVALID_TAGS",
            Self::Source => "INVALID_SOURCE",
            Self::Embedder => "INVALID_EMBEDDER",
            Self::Dimension { .. } | Self::Number { .. } | Self::Zero => "INVALID_EMBEDDING",
            Self::Either => "TEXT_OR_EMBEDDING",
            Self::Limit | Self::Similarity | Self::FeedbackNumber => "OUT_OF_RANGE",
            Self::TooLarge { .. } => "PATTERN_TOO_LARGE",
            Self::Json(_) => "INVALID_JSON",
            Self::Signature => "FEEDBACK_SIGNATURE",
            Self::Unknown(_) => "PATTERN_UNKNOWN",
            Self::Embedders { .. } => "EMBEDDERS_FULL",
            Self::Full { .. } => "PATTERNS_FULL",
            Self::Stale { .. } => "FEEDBACK_STALE",
            Self::Signers { .. } => "SIGNERS_FULL",
            Self::NoCandidate { .. } => "NOT_A_CANDIDATE",
            Self::Waiting { .. } => "PROPOSALS_WAITING",
        }
    }
}
