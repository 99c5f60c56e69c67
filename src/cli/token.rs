//! `bizra token`: prints the API token, or makes a new one, through the node if one runs, otherwise
//! in its file.

use serde_json::json;

use crate::adapters::lock::{DirLock, LockError};
use crate::cli::bizra::{TokenArgs, TokenCommand};
use crate::cli::client::{CliError, Target};
use crate::cli::commands::Say;
use crate::token_file;

/// Carries out the command and returns the exit code.
///
/// # Errors
/// When there is no token, the node refuses, or uses the directory and does not answer, or the file
/// cannot be written.
pub(super) async fn run(
    args: TokenArgs,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    let Some(TokenCommand::Rotate) = args.command else {
        let token = target.token()?;
        return say.answer(&json!({ "token": token }), |_| format!("{token}\n"));
    };
    let data_dir = target.config()?.node.data_dir;
    match target.client()?.post(&["token", "rotate"], &json!({})).await {
        Ok(_) => {}
        Err(unreachable @ CliError::Unreachable { .. }) => {
            // A node that was named is not the one whose file lies here.
            if target.url.is_some() || !data_dir.is_dir() {
                return Err(unreachable);
            }
            let _lock = DirLock::acquire(&data_dir).map_err(|lock| held(lock, unreachable))?;
            token_file::make(&data_dir).map_err(|error| CliError::Token(error.into()))?;
        }
        Err(error) => return Err(error),
    }
    let file = data_dir.join(token_file::FILE_NAME);
    let rotated = json!({ "rotated": true, "file": file.display().to_string() });
    say.answer(&rotated, |_| {
        "the old token is refused from now on; `bizra token` prints the new one\n".to_owned()
    })
}

/// A node has the directory, but none answers where one was looked for.
pub(super) fn held(lock: LockError, unreachable: CliError) -> CliError {
    match (lock, unreachable) {
        (lock @ LockError::Held { .. }, CliError::Unreachable { url, .. }) => {
            CliError::Elsewhere { lock, url }
        }
        (lock, _) => lock.into(),
    }
}
