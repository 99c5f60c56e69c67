//! The Python packages: builds them, and runs their tests against what was built, in a virtual
//! environment of their own in cargo's target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::program::{self, run};
use crate::say;

/// Where the environment and the wheels of the tests lie.
const PLACE: &str = "target/python";

/// What the tests need, and all that comes with it.
const REQUIREMENTS: &str = "bindings/python/tests/requirements.txt";

const BINDINGS: &str = "bindings/python";

/// The package of pure Python beside it.
const SOVEREIGN: &str = "bindings/sovereign";

/// Set where a machine without Python packages is a failure.
const REQUIRE: &str = "BIZRA_REQUIRE_PYTHON";

/// Runs every test of the packages, against the wheel as maturin builds it in the dev profile: it
/// then shares what cargo has compiled. Without Python or its packages nothing is tested, which is
/// told.
pub(crate) fn test() -> ExitCode {
    let python = match environment() {
        Ok(python) => python,
        Err(reason) if std::env::var_os(REQUIRE).is_none() => {
            let told = "xtask: the Python packages were not tested";
            return say(&format!("{told}: {reason} ({REQUIRE}=1 makes this an error)"), 0.into());
        }
        Err(reason) => return failed(&reason),
    };
    match tested(&python) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(&reason),
    }
}

/// Builds the optimised wheel where `pip install target/wheels/bizra-*.whl` finds it.
pub(crate) fn wheel() -> ExitCode {
    let built = environment().and_then(|python| {
        let dir = Path::new(BINDINGS);
        run(&python, &["-m", "maturin", "build", "--release", "--locked"], dir)
    });
    match built {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(&reason),
    }
}

fn failed(reason: &str) -> ExitCode {
    say(&format!("xtask: {reason}"), ExitCode::FAILURE)
}

fn tested(python: &Path) -> Result<(), String> {
    let here = Path::new(".");
    let wheel = built(python, &format!("{PLACE}/wheels"))?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"];
    // Everything they need is there; what is built here has no other source.
    let offline = ["--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"];
    let packages = [wheel.as_str(), "./bindings/sovereign"];
    run(python, &[&pip[..], &offline[..], &packages[..]].concat(), here)?;
    let bindings = Path::new(BINDINGS);
    // The stubs say what the module has, and the types in the package agree with each other.
    run(python, &["-m", "mypy.stubtest", "bizra"], bindings)?;
    run(python, &["-m", "mypy", "python"], bindings)?;
    let pytest = ["-W", "error", "-m", "pytest", "-p", "no:cacheprovider"];
    run(python, &pytest, bindings)?;
    run(python, &pytest, Path::new(SOVEREIGN))
}

/// The one wheel that maturin puts into an empty folder.
fn built(python: &Path, wheels: &str) -> Result<String, String> {
    let _ = fs::remove_dir_all(wheels);
    let manifest = format!("{BINDINGS}/Cargo.toml");
    let interpreter = python.display().to_string();
    let arguments = [
        "-m",
        "maturin",
        "build",
        "--profile",
        "dev",
        "--locked",
        "--auditwheel",
        "skip",
        "--manifest-path",
        &manifest,
        "--interpreter",
        &interpreter,
        "--out",
        wheels,
    ];
    run(python, &arguments, Path::new("."))?;
    let found = fs::read_dir(wheels).map_err(|error| format!("{wheels}: {error}"))?;
    let found: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    match &found[..] {
        [wheel] => Ok(wheel.display().to_string()),
        _ => Err(format!("{wheels} has {} files where one wheel is expected", found.len())),
    }
}

/// The interpreter of the environment.
fn environment() -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(REQUIREMENTS);
    let wanted = wanted.map_err(|error| format!("{REQUIREMENTS}: {error}"))?;
    program::environment(&format!("{PLACE}/venv"), &wanted, &["--quiet", "-r", REQUIREMENTS])
}
