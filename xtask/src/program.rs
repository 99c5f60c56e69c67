//! Programs other than cargo.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
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

/// The interpreter of a Python environment at `place`, which pip fills with `packages` unless it was made
/// for the same `wanted` before.
pub(crate) fn environment(place: &str, wanted: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let place = env::current_dir().map_err(|error| error.to_string())?.join(place);
    let (python, ready) = (place.join("bin/python"), place.join("ready"));
    if fs::read_to_string(&ready).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let here = Path::new(".");
    run(Path::new("python3"), &["-m", "venv", "--clear", &place.display().to_string()], here)?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "install", "--no-input"];
    run(&python, &[&pip[..], packages].concat(), here)?;
    fs::write(&ready, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}
