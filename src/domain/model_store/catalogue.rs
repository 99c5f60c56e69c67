//! The catalogue: which models can be pulled, from where, and what each must turn out to be.

use serde::Deserialize;

use crate::domain::model_store::{BYTES_MAX, ModelName, Sha256};

/// The catalogue inside the program.
pub const DEFAULT_TOML: &str = include_str!("../../../config/models.toml");

/// Bytes of a catalogue: some 500 for each of the most entries, and comments.
pub const DOCUMENT_BYTES_MAX: usize = 512 << 10;
/// The most entries. It is a choice for people, not an index of a hub.
pub const ENTRIES_MAX: usize = 256;
/// Characters of a description, a licence, a repository or a file.
const TEXT_CHARS_MAX: usize = 256;
/// The most tokens of context that an entry may claim.
const CONTEXT_MAX: u32 = 1 << 24;

/// Why a document is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct CatalogueError {
    /// The file, or what it is called.
    pub origin: String,
    /// What is wrong, with its place.
    pub reason: String,
}

/// One model that can be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is called here.
    pub name: ModelName,
    /// `owner/name` on the hub.
    pub repository: String,
    /// A commit of it: 40 hex digits. `main` where the commit is not known; the digest decides
    /// either way.
    pub revision: String,
    /// The file in it.
    pub file: String,
    /// The file's size.
    pub bytes: u64,
    /// What the file must hash to.
    pub sha256: Sha256,
    /// The number format of the weights.
    pub quantization: String,
    /// An SPDX identifier, or the licence's own name.
    pub licence: String,
    /// Tokens of context that the model was made for.
    pub context: u32,
    /// Bytes of memory to run it with 8,192 tokens of context, or its own if that is less.
    pub memory_bytes: u64,
    /// What it is good for, in one line.
    pub description: String,
}

impl Entry {
    /// `/repository/resolve/revision/file`, each part as a URL has it.
    pub fn path(&self) -> String {
        format!("/{}/resolve/{}/{}", self.repository, self.revision, self.file)
    }

    /// `repository@revision/file`, for people and the index.
    pub fn source(&self) -> String {
        format!("{}@{}/{}", self.repository, self.revision, self.file)
    }
}

/// Every model that can be pulled, in the order of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    model: Vec<Entry>,
}

impl Catalogue {
    /// Reads a document; `origin` is what errors call it.
    ///
    /// # Errors
    /// When it is too long, not TOML, holds an unknown key, or a value that may not be.
    pub fn parse(origin: &str, text: &str) -> Result<Self, CatalogueError> {
        let fail = |reason: String| CatalogueError { origin: origin.to_owned(), reason };
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(fail(format!("a catalogue has at most {DOCUMENT_BYTES_MAX} bytes")));
        }
        let document: Document =
            toml::from_str(text).map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
        let entries = document.model;
        if entries.len() > ENTRIES_MAX {
            return Err(fail(format!(
                "{} models; a catalogue has at most {ENTRIES_MAX}",
                entries.len()
            )));
        }
        for (at, entry) in entries.iter().enumerate() {
            check(entry).map_err(|reason| fail(format!("model {}: {reason}", entry.name)))?;
            if entries[..at].iter().any(|earlier| earlier.name == entry.name) {
                return Err(fail(format!("model {} is there twice", entry.name)));
            }
        }
        Ok(Self { entries })
    }

    /// The catalogue inside the program.
    ///
    /// # Errors
    /// Never, as a test parses it.
    pub fn built_in() -> Result<Self, CatalogueError> {
        Self::parse("the built-in catalogue", DEFAULT_TOML)
    }

    /// Every entry.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this name.
    pub fn find(&self, name: &ModelName) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }
}

fn check(entry: &Entry) -> Result<(), String> {
    let repository: Vec<&str> = entry.repository.split('/').collect();
    if repository.len() != 2 || !repository.iter().all(|part| is_part(part)) {
        return Err(format!("repository {:?} is not of the form owner/name", entry.repository));
    }
    let is_commit = entry.revision.len() == 40
        && entry.revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_commit && entry.revision != "main" {
        return Err(format!(
            "revision {:?} is neither a commit of 40 hex digits nor main",
            entry.revision
        ));
    }
    if !entry.file.split('/').all(is_part) || !entry.file.ends_with(".gguf") {
        return Err(format!("file {:?} is not the path of a .gguf file", entry.file));
    }
    if !(1..=BYTES_MAX).contains(&entry.bytes) {
        return Err(format!("bytes is {}; it must be 1 to {BYTES_MAX}", entry.bytes));
    }
    if !(1..=CONTEXT_MAX).contains(&entry.context) {
        return Err(format!("context is {}; it must be 1 to {CONTEXT_MAX}", entry.context));
    }
    if !(entry.bytes..=4 * BYTES_MAX).contains(&entry.memory_bytes) {
        return Err(format!("memory_bytes {} is less than the file", entry.memory_bytes));
    }
    for (key, text) in [
        ("repository", &entry.repository),
        ("file", &entry.file),
        ("quantization", &entry.quantization),
        ("licence", &entry.licence),
        ("description", &entry.description),
    ] {
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(format!("{key} must have 1 to {TEXT_CHARS_MAX} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("{key} has a control character"));
        }
    }
    Ok(())
}

/// A part of a path that means itself, in a URL and in a file system.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"
[[model]]
name = "a"
repository = "owner/name"
revision = "9217f5db79a29953eb74d5343926648285ec7e67"
file = "a.gguf"
bytes = 10
sha256 = "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db"
quantization = "Q4_K_M"
licence = "Apache-2.0"
context = 8192
memory_bytes = 20
description = "a model"
"#;

    #[test]
    fn the_built_in_catalogue_is_valid_and_pinned() {
        let catalogue = Catalogue::built_in().unwrap();
        assert!(catalogue.entries().len() >= 7);
        for entry in catalogue.entries() {
            assert_eq!(entry.revision.len(), 40, "{} is not pinned to a commit", entry.name);
        }
    }

    #[test]
    fn an_entry_is_found_by_its_name_and_has_its_path() {
        let catalogue = Catalogue::parse("x", ENTRY).unwrap();
        let entry = catalogue.find(&ModelName::parse("a").unwrap()).unwrap();
        let commit = "9217f5db79a29953eb74d5343926648285ec7e67";
        assert_eq!(entry.path(), format!("/owner/name/resolve/{commit}/a.gguf"));
        assert!(catalogue.find(&ModelName::parse("b").unwrap()).is_none());
        assert!(Catalogue::parse("x", "").unwrap().entries().is_empty());
    }

    #[test]
    fn what_may_not_be_is_refused_with_its_place() {
        let cases = [
            ("name = \"a\"", "name = \"../a\"", "names no model"),
            ("owner/name", "owner", "owner/name"),
            ("owner/name", "owner/../name", "owner/name"),
            ("owner/name", "https://evil.example/x", "owner/name"),
            ("9217f5db79a29953eb74d5343926648285ec7e67", "v1", "neither a commit"),
            ("a.gguf", "../a.gguf", "path of a .gguf"),
            ("a.gguf", "a.bin", "path of a .gguf"),
            ("a.gguf", "a?x=.gguf", "path of a .gguf"),
            ("bytes = 10\n", "bytes = 0\n", "bytes is 0"),
            ("bytes = 10\n", "bytes = -1\n", "-1"),
            ("74a4", "74A4", "not lower-case hex"),
            ("74a4", "", "hex digits are expected"),
            ("context = 8192", "context = 0", "context is 0"),
            ("memory_bytes = 20", "memory_bytes = 1", "less than the file"),
            ("\"Apache-2.0\"", "\"\"", "licence"),
            ("\"a model\"", "\"a\\u001b[2J\"", "control"),
            ("context = 8192", "context = 8192\nurl = \"x\"", "unknown field `url`"),
        ];
        for (from, to, expected) in cases {
            let text = ENTRY.replacen(from, to, 1);
            assert_ne!(text, ENTRY, "{from} is not in the entry");
            let error = Catalogue::parse("site.toml", &text).unwrap_err().to_string();
            assert!(error.starts_with("site.toml: ") && error.contains(expected), "{to}: {error}");
        }
        let twice = format!("{ENTRY}{ENTRY}");
        assert!(Catalogue::parse("x", &twice).unwrap_err().reason.contains("twice"));
        let many: String = (0..=ENTRIES_MAX)
            .map(|n| ENTRY.replacen("name = \"a\"", &format!("name = \"a{n}\""), 1))
            .collect();
        assert!(Catalogue::parse("x", &many).unwrap_err().reason.contains("at most 256"));
        let long = "#".repeat(DOCUMENT_BYTES_MAX + 1);
        assert!(Catalogue::parse("x", &long).unwrap_err().reason.contains("at most"));
    }
}
