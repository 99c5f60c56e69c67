//! Looks into a file whether the engine can run it, without loading it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::adapters::edge::gguf::Header;
use crate::adapters::edge::metadata::{Metadata, required};
use crate::adapters::edge::model::quantization;
use crate::adapters::edge::weights::ARCHITECTURES;

/// What the header of a model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// One of those that the engine knows.
    pub architecture: String,
    /// The number format of its weights.
    pub quantization: String,
    /// Number of its weights.
    pub parameters: u64,
    /// Tokens of context that it was made for.
    pub context: u32,
}

/// Reads the header of the file at `path`.
///
/// # Errors
/// The reason, when the engine could not run it.
pub fn inspect(path: &Path) -> Result<Facts, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let header = Header::read(BufReader::new(file), bytes).map_err(|error| error.to_string())?;
    let metadata = Metadata(&header.metadata);
    let key = "general.architecture";
    let architecture = required(metadata.text(key), key).map_err(|error| error.to_string())?;
    if !ARCHITECTURES.contains(&architecture) {
        let shown: String = architecture.chars().filter(|c| !c.is_control()).take(32).collect();
        let known = ARCHITECTURES.join(", ");
        return Err(format!("its architecture is {shown:?}; supported are {known}"));
    }
    let key = format!("{architecture}.context_length");
    let context = required(metadata.count(&key), &key).map_err(|error| error.to_string())?;
    let file_type = metadata.count("general.file_type").map_err(|error| error.to_string())?;
    Ok(Facts {
        architecture: architecture.to_owned(),
        quantization: quantization(file_type, &header),
        parameters: header.tensors.values().map(|tensor| tensor.elements()).sum(),
        context: u32::try_from(context).unwrap_or(u32::MAX),
    })
}
