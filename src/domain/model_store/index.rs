//! The index of a store: which names there are, and which file each points to.

use serde::{Deserialize, Serialize};

use crate::domain::model_store::{BYTES_MAX, ModelName, Sha256};

/// Bytes of an index: some 600 for each of the most entries.
pub const INDEX_BYTES_MAX: usize = 1 << 20;
/// The most names. Each is a file of at least hundreds of megabytes.
pub const NAMES_MAX: usize = 256;
/// Characters of a text in the index that came from outside.
const TEXT_CHARS_MAX: usize = 512;
/// The only version there is.
const VERSION: u32 = 1;

/// Why there is no index, or no room in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It cannot be read.
    #[error("the index is damaged: {0}; move it away and import the models again")]
    Damaged(String),
    /// It is of a later version of this program.
    #[error("the index has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// There are too many names.
    #[error("there are {NAMES_MAX} models already; remove one first")]
    Full,
    /// The name points to another file.
    #[error("{name} is there already with other content ({sha256}); remove it first")]
    Taken {
        /// The name.
        name: ModelName,
        /// What it points to.
        sha256: Sha256,
    },
}

/// What is kept of an installed model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is called.
    pub name: ModelName,
    /// Its file.
    pub sha256: Sha256,
    /// Its size.
    pub bytes: u64,
    /// As its header says: `llama` or `qwen2`.
    pub architecture: String,
    /// The number format of its weights.
    pub quantization: String,
    /// Number of its weights.
    pub parameters: u64,
    /// Tokens of context that it was made for.
    pub context: u32,
    /// From the catalogue; `None` for what was imported.
    pub licence: Option<String>,
    /// Where it came from.
    pub source: String,
    /// When, in milliseconds since the Unix epoch.
    pub added_ms: u64,
}

/// Every installed model, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    records: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    models: Vec<Record>,
}

impl Index {
    /// Reads what [`Index::to_json`] wrote.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = |reason: String| IndexError::Damaged(reason);
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(damaged(format!("it has more than {INDEX_BYTES_MAX} bytes")));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if version.version != VERSION {
            return Err(IndexError::Version(version.version));
        }
        let file: File =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let mut records = file.models;
        records.sort_by(|a, b| a.name.cmp(&b.name));
        if records.len() > NAMES_MAX {
            return Err(damaged(format!("it has more than {NAMES_MAX} names")));
        }
        if records.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(damaged("a name is there twice".into()));
        }
        if records.iter().any(|record| record.bytes > BYTES_MAX || !is_clean(record)) {
            return Err(damaged("a value is out of range".into()));
        }
        Ok(Self { records })
    }

    /// As it is written.
    pub fn to_json(&self) -> String {
        let file = File { version: VERSION, models: self.records.clone() };
        // Fails for maps with keys that are no text, of which there are none.
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// Every record, by name.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The record of this name.
    pub fn find(&self, name: &ModelName) -> Option<&Record> {
        self.records.iter().find(|record| record.name == *name)
    }

    /// Whether a name points to this file.
    pub fn holds(&self, sha256: &Sha256) -> bool {
        self.records.iter().any(|record| record.sha256 == *sha256)
    }

    /// Takes a record in, in the place of one that points to the same file.
    ///
    /// # Errors
    /// When the name points to another file, or there are too many.
    pub fn put(&mut self, record: Record) -> Result<(), IndexError> {
        match self.records.binary_search_by(|known| known.name.cmp(&record.name)) {
            Ok(at) if self.records[at].sha256 == record.sha256 => self.records[at] = record,
            Ok(at) => {
                let sha256 = self.records[at].sha256;
                return Err(IndexError::Taken { name: record.name, sha256 });
            }
            Err(_) if self.records.len() >= NAMES_MAX => return Err(IndexError::Full),
            Err(at) => self.records.insert(at, record),
        }
        Ok(())
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &ModelName) -> Option<Record> {
        let at = self.records.iter().position(|record| record.name == *name)?;
        Some(self.records.remove(at))
    }
}

fn is_clean(record: &Record) -> bool {
    let texts = [&record.architecture, &record.quantization, &record.source];
    texts
        .into_iter()
        .chain(&record.licence)
        .all(|text| text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control))
}

/// A text from outside, fit for the index: short and on one line.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, first: u8) -> Record {
        Record {
            name: ModelName::parse(name).unwrap(),
            sha256: Sha256::from([first; 32]),
            bytes: 10,
            architecture: "llama".into(),
            quantization: "Q4_0".into(),
            parameters: 7,
            context: 128,
            licence: None,
            source: "import of a file".into(),
            added_ms: 1,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut index = Index::default();
        index.put(record("b", 1)).unwrap();
        index.put(record("a", 2)).unwrap();
        let read = Index::parse(index.to_json().as_bytes()).unwrap();
        assert_eq!(read, index);
        let names: Vec<_> = read.records().iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_name_keeps_its_file_until_it_is_removed() {
        let mut index = Index::default();
        index.put(record("a", 1)).unwrap();
        index.put(record("a", 1)).unwrap();
        assert!(matches!(index.put(record("a", 2)), Err(IndexError::Taken { .. })));
        index.put(record("b", 1)).unwrap();
        assert!(index.remove(&ModelName::parse("a").unwrap()).is_some());
        assert!(index.holds(&Sha256::from([1; 32])), "b still points to it");
        index.put(record("a", 2)).unwrap();
    }

    #[test]
    fn names_are_bounded() {
        let mut index = Index::default();
        for n in 0..NAMES_MAX {
            index.put(record(&format!("m{n}"), 1)).unwrap();
        }
        assert_eq!(index.put(record("one-more", 1)), Err(IndexError::Full));
        index.put(record("m0", 1)).unwrap();
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let mut index = Index::default();
        index.put(record("a", 1)).unwrap();
        let good = index.to_json();
        for (from, to) in [
            ("{", ""),
            ("\"a\"", "\"../a\""),
            ("\"version\": 1", "\"version\": 2"),
            ("\"bytes\": 10", "\"bytes\": 18446744073709551615"),
            ("import of", "\\u001b[2J"),
            ("\"Q4_0\"", "null"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Index::parse(bad.as_bytes()).is_err(), "{to}");
        }
        assert!(Index::parse(&vec![b' '; INDEX_BYTES_MAX + 1]).is_err());
        let models = &good[good.find('[').unwrap()..=good.rfind(']').unwrap()];
        let entry = &models[1..models.len() - 1];
        let twice = good.replace(models, &format!("[{entry},{entry}]"));
        assert!(Index::parse(twice.as_bytes()).unwrap_err().to_string().contains("twice"));
    }
}
