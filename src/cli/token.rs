//! `bizra token rotate`: a new token, through the node if one runs, otherwise in its file.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::cli::client::{CliError, Target};
use crate::token_file;

/// The file whose lock says that a node uses the data directory.
const LOCK: &str = "lock";

/// Replaces the token. Returns the exit code.
///
/// # Errors
/// When the node refuses, or uses the directory and does not answer, or the file cannot be written.
pub(super) async fn rotate(
    target: &Target,
    out: &mut dyn Write,
    is_json: bool,
) -> Result<u8, CliError> {
    let data_dir = target.config()?.node.data_dir;
    match target.client()?.post(&["token", "rotate"], &json!({})).await {
        Ok(_) => {}
        Err(unreachable @ CliError::Unreachable { .. }) => {
            // A node that was named is not the one whose file lies here.
            if target.url.is_some() || !data_dir.is_dir() {
                return Err(unreachable);
            }
            let _lock = lock(&data_dir, unreachable)?;
            token_file::make(&data_dir).map_err(|error| CliError::Token(error.into()))?;
        }
        Err(error) => return Err(error),
    }
    let file = data_dir.join(token_file::FILE_NAME);
    if is_json {
        writeln!(out, "{:#}", json!({ "rotated": true, "file": file.display().to_string() }))?;
    } else {
        writeln!(out, "the old token is refused from now on; `bizra token` prints the new one")?;
    }
    Ok(0)
}

/// Keeps a node from starting in the directory.
fn lock(data_dir: &Path, unreachable: CliError) -> Result<Option<File>, CliError> {
    let path = data_dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        // No node has been here.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let reason =
                format!("a node uses {}, and cannot be asked: {unreachable}", data_dir.display());
            Err(CliError::Usage(reason))
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
