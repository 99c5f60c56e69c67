//! Preferences: how somebody likes to be answered, learned from what was observed.
//!
//! What can be preferred is said in [`choice`]: a closed vocabulary for style, verbosity, code style
//! and language, and short notes of a narrow form. So whatever reaches a prompt is a sentence of ours,
//! and of the caller's text at most a few plain words between quotation marks. How sure the node is of
//! a preference is in [`profile`], and how they are told to a model in [`render`].

use crate::domain::name::is_plain;
use std::fmt::{self, Display, Formatter};

pub mod choice;
pub mod profile;
pub mod render;

#[cfg(test)]
mod tests;

pub use choice::{Choice, ChoiceError, Kind, Slot};
pub use profile::{Effect, Entry, Full, Observed, Profile, ProfileError, Selection};
pub use render::{Rendered, join};

/// Characters of a subject's name.
pub const SUBJECT_CHARS_MAX: usize = 64;

/// Whose preferences: a name that the caller gives to a person or a program. It never reaches a prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

/// A name is none of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a subject has 1 to {SUBJECT_CHARS_MAX} of: letters, digits, . _ - and begins with a letter or \
     digit"
)]
pub struct SubjectError;

impl Subject {
    /// Reads a name.
    ///
    /// # Errors
    /// [`SubjectError`] for another form.
    pub fn parse(name: &str) -> Result<Self, SubjectError> {
        let is_name = is_plain(name, b"._-", SUBJECT_CHARS_MAX)
            && name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if is_name { Ok(Self(name.to_owned())) } else { Err(SubjectError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Subjects.
    pub subjects_max: u64,
    /// Notes of one subject; of the other kinds there is one place each.
    pub notes_max: usize,
}

impl Default for Bounds {
    /// A household, a team or a small service; more notes than are ever told to a model at once. Full,
    /// that is some dozens of megabytes.
    fn default() -> Self {
        Self { subjects_max: 4096, notes_max: 32 }
    }
}

/// Which of the subjects to list, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPage {
    /// At most so many.
    pub limit: usize,
    /// Only those after this one.
    pub after: Option<Subject>,
}

/// Subjects on one page.
pub const PAGE_MAX: usize = 100;
