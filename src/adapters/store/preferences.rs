//! The table of preferences. An observation is read, taken in and written in one transaction of the
//! writer, so none is lost between two that come at once, whoever dies when.

use redb::{ReadableTable, ReadableTableMetadata, StorageError, TableDefinition, WriteTransaction};

use super::writer::{Op, Outcome};
use super::{Store, StoreError, unless_absent};
use crate::domain::preference::{
    Bounds, Choice, Full, Observed, Profile, Selection, Subject, SubjectPage,
};

/// Subject to profile.
const PREFERENCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("preferences");

/// What was observed of a subject, as the writer takes it.
#[derive(Debug)]
pub(super) struct Observation {
    subject: Subject,
    choice: Choice,
    at_ms: i64,
    bounds: Bounds,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Taken {
    Observed(Box<Observed>),
    Full(Full),
    Forgotten(usize),
    /// What is kept of the subject cannot be read.
    Damaged(String),
}

impl Store {
    /// Takes in that a subject chose a value. Answers when that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`]; the inner error if there is as much as `bounds` allow, and
    /// [`StoreError::Read`] if what is kept of the subject is damaged. Nothing changed then.
    pub async fn observe_preference(
        &self,
        subject: Subject,
        choice: Choice,
        at_ms: i64,
        bounds: Bounds,
    ) -> Result<Result<Observed, Full>, StoreError> {
        let op = Op::Prefer(Box::new(Observation { subject, choice, at_ms, bounds }));
        match self.submit(op).await? {
            Outcome::Preferred(Taken::Observed(observed)) => Ok(Ok(*observed)),
            Outcome::Preferred(Taken::Full(full)) => Ok(Err(full)),
            Outcome::Preferred(Taken::Damaged(reason)) => Err(damaged(&reason)),
            _ => Err(StoreError::Closed),
        }
    }

    /// Forgets what is selected of a subject, and tells how many values that were. Answers when that is
    /// on disk. Everything can be forgotten also of what is damaged.
    ///
    /// # Errors
    /// As [`Store::observe_preference`].
    pub async fn forget_preferences(
        &self,
        subject: Subject,
        selection: Selection,
    ) -> Result<usize, StoreError> {
        match self.submit(Op::Unprefer { subject, selection }).await? {
            Outcome::Preferred(Taken::Forgotten(count)) => Ok(count),
            Outcome::Preferred(Taken::Damaged(reason)) => Err(damaged(&reason)),
            _ => Err(StoreError::Closed),
        }
    }

    /// What is known of a subject; of one that is not known, nothing. Reads the disk: not for a thread
    /// that must not wait.
    ///
    /// # Errors
    /// [`StoreError::Read`], also if what is kept is damaged.
    pub fn preferences(&self, subject: &Subject) -> Result<Profile, StoreError> {
        let found = self.read(|begun| {
            let Some(table) = unless_absent(begun.open_table(PREFERENCES))? else {
                return Ok(None);
            };
            Ok(table.get(subject.as_str())?.map(|profile| profile.value().to_vec()))
        })?;
        found.map_or_else(|| Ok(Profile::default()), |profile| read(&profile))
    }

    /// Lists a page of the subjects with their profiles, by name. Reads the disk.
    ///
    /// # Errors
    /// As [`Store::preferences`].
    pub fn preference_subjects(
        &self,
        page: &SubjectPage,
    ) -> Result<Vec<(Subject, Profile)>, StoreError> {
        let found = self.read(|begun| {
            let Some(table) = unless_absent(begun.open_table(PREFERENCES))? else {
                return Ok(Vec::new());
            };
            let after = page.after.as_ref().map_or("", Subject::as_str);
            let entries = table.range(after..)?.filter(|entry| {
                // The first one is the one after which to go on.
                !entry.as_ref().is_ok_and(|(subject, _)| subject.value() == after)
            });
            let row = |entry: Result<_, StorageError>| {
                let (subject, profile): (
                    redb::AccessGuard<'_, &str>,
                    redb::AccessGuard<'_, &[u8]>,
                ) = entry?;
                Ok((subject.value().to_owned(), profile.value().to_vec()))
            };
            entries.take(page.limit).map(row).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        let known = |(subject, profile): (String, Vec<u8>)| {
            let subject = Subject::parse(&subject).map_err(|error| damaged(&error.to_string()))?;
            Ok((subject, read(&profile)?))
        };
        found.into_iter().map(known).collect()
    }

    /// How many subjects have preferences. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn preference_subject_count(&self) -> Result<u64, StoreError> {
        self.read(|begun| match unless_absent(begun.open_table(PREFERENCES))? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        })
    }
}

fn damaged(reason: &str) -> StoreError {
    StoreError::Read(format!("preferences are damaged: {reason}"))
}

fn read(profile: &[u8]) -> Result<Profile, StoreError> {
    Profile::from_bytes(profile).map_err(|error| damaged(&error.to_string()))
}

/// The table, open for writing.
pub(super) struct Preferences<'t> {
    table: redb::Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Preferences<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { table: write.open_table(PREFERENCES)? })
    }

    pub(super) fn observe(&mut self, observation: &Observation) -> Result<Taken, redb::Error> {
        let Observation { subject, choice, at_ms, bounds } = observation;
        let known = self.get(subject)?;
        if known.is_none() && self.table.len()? >= bounds.subjects_max {
            return Ok(Taken::Full(Full::Subjects { max: bounds.subjects_max }));
        }
        let profile = known.map_or_else(|| Ok(Profile::default()), |it| Profile::from_bytes(&it));
        let mut profile = match profile {
            Ok(profile) => profile,
            Err(error) => return Ok(Taken::Damaged(error.to_string())),
        };
        match profile.observe(choice, *at_ms, bounds.notes_max) {
            Err(full) => Ok(Taken::Full(full)),
            Ok(observed) => self.put(subject, &profile, Taken::Observed(Box::new(observed))),
        }
    }

    pub(super) fn forget(
        &mut self,
        subject: &Subject,
        selection: &Selection,
    ) -> Result<Taken, redb::Error> {
        let Some(known) = self.get(subject)? else { return Ok(Taken::Forgotten(0)) };
        let mut profile = match Profile::from_bytes(&known) {
            Ok(profile) => profile,
            Err(_) if *selection == Selection::All => Profile::default(),
            Err(error) => return Ok(Taken::Damaged(error.to_string())),
        };
        let count = profile.forget(selection);
        self.put(subject, &profile, Taken::Forgotten(count))
    }

    fn get(&self, subject: &Subject) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.table.get(subject.as_str())?.map(|profile| profile.value().to_vec()))
    }

    /// Keeps the profile and gives `taken`. A subject of which nothing is known takes no room.
    fn put(
        &mut self,
        subject: &Subject,
        profile: &Profile,
        taken: Taken,
    ) -> Result<Taken, redb::Error> {
        if profile.is_empty() {
            self.table.remove(subject.as_str())?;
            return Ok(taken);
        }
        match profile.to_bytes() {
            Ok(bytes) => {
                self.table.insert(subject.as_str(), bytes.as_slice())?;
                Ok(taken)
            }
            Err(error) => Ok(Taken::Damaged(error.to_string())),
        }
    }
}
