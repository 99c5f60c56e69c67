//! Makes a Python environment with llama.cpp's server, in cargo's target directory.

use crate::program::environment;

/// What is built: the same for everybody, until this line changes.
const PACKAGE: &str = "llama-cpp-python[server]==0.3.36";

/// Where it lies.
const PLACE: &str = "target/peers";

/// The interpreter that has the server; builds it unless that was done before.
pub(crate) fn python() -> Result<String, String> {
    // cmake and ninja come with the build, as packages.
    Ok(environment(PLACE, PACKAGE, &[PACKAGE])?.display().to_string())
}
