//! Makes a Python environment with llama.cpp's server, in cargo's target directory.

use std::fs;
use std::path::Path;

use crate::program::run;

/// What is built: the same for everybody, until this line changes.
const PACKAGE: &str = "llama-cpp-python[server]==0.3.36";

/// Where it lies.
const PLACE: &str = "target/peers";

/// The interpreter that has the server; builds it unless that was done before.
pub(crate) fn python() -> Result<String, String> {
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let place = root.join(PLACE);
    let (python, ready) = (place.join("bin/python"), place.join("ready"));
    let shown = python.display().to_string();
    let here = Path::new(".");
    if fs::read_to_string(&ready).is_ok_and(|built| built == PACKAGE) {
        return Ok(shown);
    }
    let place = place.display().to_string();
    run(Path::new("python3"), &["-m", "venv", "--clear", &place], here)?;
    // cmake and ninja come with the build, as packages.
    let pip = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", PACKAGE];
    run(&python, &pip, here)?;
    fs::write(Path::new(&ready), PACKAGE).map_err(|error| error.to_string())?;
    Ok(shown)
}
