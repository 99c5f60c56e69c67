//! Models on disk: what they are called, how they are told apart, and what is enough room.
//!
//! A model is what its SHA-256 says: the digest decides whether a file is the one that was asked
//! for, whoever sent it. Names only point to digests.

pub mod catalogue;
pub mod index;
pub mod listing;
pub mod pulls;
pub mod transfer;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::bytes::{self, HexError};

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// The largest model file, in bytes: 1 TiB, more than any dense model of today at full precision.
pub const BYTES_MAX: u64 = 1 << 40;

/// Why a text names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no model: a name has 1 to {NAME_CHARS_MAX} of a-z, 0-9, '.', '_' and '-' and begins \
     with a letter or a digit"
)]
pub struct NameError(String);

/// What a model is called: safe as a part of a path and of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Reads a name as it is written.
    ///
    /// # Errors
    /// For any other text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte));
        let shown = || text.chars().take(NAME_CHARS_MAX).collect();
        if is_name { Ok(Self(text.to_owned())) } else { Err(NameError(shown())) }
    }

    /// The name for a file that is brought in without one: its own, without `.gguf`, in lower case,
    /// every other character a hyphen.
    ///
    /// # Errors
    /// When nothing is left that can be a name.
    pub fn of_file(file_name: &str) -> Result<Self, NameError> {
        let lower = file_name.to_ascii_lowercase();
        let stem = lower.strip_suffix(".gguf").unwrap_or(&lower);
        let plain: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .take(NAME_CHARS_MAX)
            .collect();
        Self::parse(plain.trim_matches(['.', '_', '-']))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The SHA-256 of a file. Its text form is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`HexError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        bytes::from_hex(text).map(Self)
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        bytes::to_hex(&self.0)
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_hex(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// How far a model is on its way to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Here, and a process uses it.
    Loaded,
    /// Here.
    Installed,
    /// Named as installed, but its file is gone or has another size.
    Missing,
    /// A part of it is here; a pull goes on from there.
    Partial,
    /// In the catalogue only.
    Available,
}

impl Presence {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Installed => "installed",
            Self::Missing => "missing",
            Self::Partial => "partial",
            Self::Available => "available",
        }
    }
}

/// What is being done with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Behind other pulls, or a process that brings the same file.
    Waiting,
    /// Bytes that are here already are hashed.
    Checking,
    /// Bytes come.
    Downloading,
    /// Until the next try.
    Pausing,
    /// A file of this machine is copied.
    Copying,
    /// Installed files are hashed again.
    Verifying,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of it that are done.
    pub bytes: u64,
    /// Bytes of all of it.
    pub total: u64,
    /// Why it pauses.
    pub reason: Option<String>,
}

impl Progress {
    /// So many bytes of so many.
    pub fn of(stage: Stage, bytes: u64, total: u64) -> Self {
        Self { stage, bytes, total, reason: None }
    }
}

/// There is not enough room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes more are needed on the disk and {floor} stay free (store.free_bytes_min), but \
     only {free} are free"
)]
pub struct NoRoom {
    /// Bytes that are still to be written.
    pub needed: u64,
    /// Bytes that stay free.
    pub floor: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// Whether `needed` bytes more fit on a disk where `free` are free and `floor` stay so. What the
/// system does not tell (`None`) does not refuse: the write itself will.
///
/// # Errors
/// When they do not fit.
pub fn room(needed: u64, floor: u64, free: Option<u64>) -> Result<(), NoRoom> {
    match free {
        Some(free) if free < needed.saturating_add(floor) => Err(NoRoom { needed, floor, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_path_and_a_url() {
        for name in ["a", "qwen2.5-0.5b-instruct", "7b", "a_b-c.d", &"x".repeat(64)] {
            assert_eq!(ModelName::parse(name).unwrap().as_str(), name);
        }
        let long = "x".repeat(65);
        for text in
            ["", ".", "..", "../x", "a/b", "-a", "_a", "A", "a b", "a\0", "a\n", "\u{e9}", &long]
        {
            assert!(ModelName::parse(text).is_err(), "{text:?}");
        }
        let error = ModelName::parse(&"/".repeat(1000)).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn a_file_brings_its_name() {
        for (file, name) in [
            ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "qwen2.5-0.5b-instruct-q4_k_m"),
            ("My Model (1).GGUF", "my-model--1"),
            ("model", "model"),
            ("caf\u{e9}.gguf", "caf"),
        ] {
            assert_eq!(ModelName::of_file(file).unwrap().as_str(), name, "{file}");
        }
        for file in ["", ".gguf", "...", "\u{6a21}\u{578b}.gguf"] {
            assert!(ModelName::of_file(file).is_err(), "{file}");
        }
    }

    #[test]
    fn room_is_what_is_free_beyond_the_floor() {
        for (needed, floor, free, fits) in [
            (10, 5, Some(15), true),
            (10, 5, Some(14), false),
            (0, 5, Some(4), false),
            (10, 5, None, true),
            (u64::MAX, 5, Some(u64::MAX - 1), false),
        ] {
            assert_eq!(room(needed, floor, free).is_ok(), fits, "{needed} {floor} {free:?}");
        }
    }
}
