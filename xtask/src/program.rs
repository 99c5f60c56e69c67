//! Programs other than cargo.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::say;

/// Shows the command and runs it in `dir`.
pub(crate) fn run(program: &Path, arguments: &[&str], dir: &Path) -> Result<(), String> {
    let name = program.display();
    say(&format!("$ {name} {}", arguments.join(" ")), ExitCode::SUCCESS);
    match Command::new(program).args(arguments).current_dir(dir).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} ended with {status}")),
        Err(error) => Err(format!("{name} does not start: {error}")),
    }
}
