//! Programs other than cargo.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::say;

/// A command without what cargo tells the program that it runs, which is this one: some build scripts
/// look at that, and would run again for every other way to start cargo.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let is_of_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Shows the command and runs it in `dir`.
pub(crate) fn run(program: &Path, arguments: &[&str], dir: &Path) -> Result<(), String> {
    let name = program.display();
    say(&format!("$ {name} {}", arguments.join(" ")), ExitCode::SUCCESS);
    match command(program).args(arguments).current_dir(dir).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} ended with {status}")),
        Err(error) => Err(format!("{name} does not start: {error}")),
    }
}
