//! What may be said to the preferences actor, which learns how people like to be answered.

use crate::domain::preference::{
    Choice, Full, Observed, Profile, Rendered, Selection, Subject, SubjectPage,
};
use crate::messages::addr::{Message, Reply};

/// What may be said to the preferences actor.
#[derive(Debug)]
pub enum PreferencesMsg {
    /// Takes in that a subject chose a value.
    Observe {
        /// Whose choice.
        subject: Subject,
        /// What was chosen.
        choice: Choice,
        /// Takes how sure the node is of it now, once that is on disk.
        reply: Reply<Result<Observed, PreferencesError>>,
    },
    /// Forgets what is known of a subject, or a part of it.
    Forget {
        /// Of whom.
        subject: Subject,
        /// Which part.
        selection: Selection,
        /// Takes how many values were forgotten, once that is on disk.
        reply: Reply<Result<usize, PreferencesError>>,
    },
    /// Tells what is known of a subject.
    Find {
        /// Of whom.
        subject: Subject,
        /// Takes it; nothing is known of who never was observed.
        reply: Reply<Result<Profile, PreferencesError>>,
    },
    /// Lists the subjects of which something is known, by name.
    List {
        /// Which of them.
        page: SubjectPage,
        /// Takes them with what is known.
        reply: Reply<Result<Vec<(Subject, Profile)>, PreferencesError>>,
    },
    /// Says what a model is to be told of a subject's preferences.
    Render {
        /// Whose.
        subject: Subject,
        /// Takes the text.
        reply: Reply<Result<Rendered, PreferencesError>>,
    },
}

/// Why nothing was learned, forgotten or told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreferencesError {
    /// There is as much as may be.
    #[error(transparent)]
    Full(#[from] Full),
    /// The disk has no room.
    #[error("{0}")]
    DiskFull(String),
    /// The store did not do its part.
    #[error("preferences cannot be dealt with at present: {0}")]
    Unavailable(String),
}

impl Message for PreferencesMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Observe { .. } => "observe",
            Self::Forget { .. } => "forget",
            Self::Find { .. } => "find",
            Self::List { .. } => "list",
            Self::Render { .. } => "render",
        }
    }

    /// An observation that is taken in twice counts twice. What was forgotten is not forgotten again,
    /// so the second answer would be another.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Observe { .. } | Self::Forget { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Observe { reply, .. } => reply.is_closed(),
            Self::Forget { reply, .. } => reply.is_closed(),
            Self::Find { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
            Self::Render { reply, .. } => reply.is_closed(),
        }
    }
}
