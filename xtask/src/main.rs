//! Development tasks. Needs cargo and nothing else, so that a fresh clone can run them.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

mod peers;
mod program;
mod python;

const HELP: &str = "\
Development tasks of bizra-omega.

Usage: cargo xtask <TASK> [-- ARGUMENTS]

Tasks:
  test        every test: of the workspace, then of the Python packages, where there is Python;
              ARGUMENTS go to cargo test, and Python is left out
  test-python the tests of the Python packages, against the wheel as it is now
  lint        formatting, clippy and documentation, with warnings as errors
  test-peers  the tests against llama.cpp, whose server it builds first; needs Python 3 and a
              C++ compiler, takes minutes; ARGUMENTS go to cargo test
  bench       every benchmark; ARGUMENTS go to cargo bench
  bench-http  the door of the node beside a bare axum server, under wrk; --help has the options
  wheel       the Python wheel, optimised, in bindings/python/target/wheels; needs Python 3
  openapi     writes docs/openapi.json anew, as the code says it
  eval-snr    pass rates of the SNR scorer over a folder of text: DIR [OPTIONS]
  snr-tables  makes the tables of the SNR scorer: DIR... --out FILE
  help        this text
";

/// One command of a task.
struct Step<'a> {
    args: Vec<&'a str>,
    /// Set for this command only.
    env: Option<(&'a str, &'a str)>,
}

impl<'a> Step<'a> {
    fn new(args: &[&'a str]) -> Self {
        Self { args: args.to_vec(), env: None }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let rest = args.get(1..).unwrap_or_default();
    let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
    let steps = match args.first() {
        Some(&"test") => test(rest),
        Some(&"test-peers") => match peers::python() {
            Ok(python) => return peers_with(&python, rest),
            Err(reason) => return say(&format!("xtask: {reason}"), ExitCode::FAILURE),
        },
        Some(&"test-python") if rest.is_empty() => return python::test(),
        Some(&"wheel") if rest.is_empty() => return python::wheel(),
        Some(&"bench") => vec![with(&["bench", "--workspace", "--locked"], rest)],
        Some(&"bench-http") => bench_http(rest),
        Some(&"eval-snr") => vec![snr("eval", rest)],
        Some(&"snr-tables") => vec![snr("tables", rest)],
        Some(&"openapi") if rest.is_empty() => vec![openapi()],
        Some(&"lint") if rest.is_empty() => lint(),
        Some(&("help" | "--help" | "-h")) => return say(&HELP, ExitCode::SUCCESS),
        Some(&"openapi") => return say(&"openapi takes no arguments", ExitCode::from(2)),
        Some(task @ (&"test-python" | &"wheel")) => {
            return say(&format!("{task} takes no arguments"), ExitCode::from(2));
        }
        Some(&"lint") => return say(&"lint takes no arguments", ExitCode::from(2)),
        Some(task) => return say(&format!("no task {task}\n\n{HELP}"), ExitCode::from(2)),
        None => return say(&HELP, ExitCode::from(2)),
    };
    for step in steps {
        if let Err(reason) = run(&step) {
            return say(&format!("xtask: {reason}"), ExitCode::FAILURE);
        }
    }
    // Arguments choose among the tests of cargo.
    if args == ["test"] { python::test() } else { ExitCode::SUCCESS }
}

/// The tests, and those of what is not built by default.
fn test<'a>(rest: &[&'a str]) -> Vec<Step<'a>> {
    let traces = ["test", "--locked", "--features", "otlp", "--test", "otlp"];
    let all = with(&["test", "--workspace", "--locked"], rest);
    // Arguments choose among the tests of the workspace, whose summary comes last.
    if rest.is_empty() { vec![Step::new(&traces), all] } else { vec![all] }
}

fn with<'a>(args: &[&'a str], rest: &[&'a str]) -> Step<'a> {
    Step::new(&[args, rest].concat())
}

/// The tests against a peer that this Python has.
fn peers_with(python: &str, rest: &[&str]) -> ExitCode {
    let test = ["test", "--locked", "--test", "peers", "--", "--ignored", "--test-threads", "1"];
    let mut step = with(&test, rest);
    step.env = Some(("BIZRA_PEER_PYTHON", python));
    match run(&step) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => say(&format!("xtask: {reason}"), ExitCode::FAILURE),
    }
}

/// The tool of the SNR scorer is a program of its own, so that tasks that do not need it do not
/// build it.
fn snr<'a>(command: &'a str, rest: &[&'a str]) -> Step<'a> {
    let run = ["run", "--quiet", "--release", "--locked", "--package", "snr-tool", "--", command];
    with(&run, rest)
}

/// Both servers and the program that loads them, which finds them beside itself.
fn bench_http<'a>(rest: &[&'a str]) -> Vec<Step<'a>> {
    // With both packages in each command, or the crate would be built twice: for their features together
    // and for the program's alone.
    let both = ["--release", "--locked", "--package", "bizra-omega", "--package", "http-bench"];
    let build = [&["build"], &both[..], &["--bin", "bizra-api", "--bin", "http-bench"]].concat();
    let run = [&["run"], &both[..], &["--bin", "http-bench", "--"]].concat();
    vec![Step::new(&build), with(&run, rest)]
}

/// The test that compares the committed copy writes it, if it is told to.
fn openapi<'a>() -> Step<'a> {
    let test = "the_committed_copy_is_what_the_code_says";
    let mut step = Step::new(&["test", "--locked", "--test", "openapi", test]);
    step.env = Some(("BIZRA_RENEW_OPENAPI", "1"));
    step
}

fn lint<'a>() -> Vec<Step<'a>> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let mut doc = Step::new(&["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env = Some(("RUSTDOCFLAGS", "-D warnings"));
    vec![Step::new(&["fmt", "--all", "--check"]), Step::new(&clippy), doc]
}

/// Shows the command and runs it with the cargo that runs this program.
fn run(step: &Step<'_>) -> Result<(), String> {
    let mut shown = String::from("$ ");
    let mut command = program::command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Some((name, value)) = step.env {
        let _ = write!(shown, "{name}='{value}' ");
        command.env(name, value);
    }
    let _ = write!(shown, "cargo {}", step.args.join(" "));
    say(&shown, ExitCode::SUCCESS);
    match command.args(&step.args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} ended with {status}", step.args[0])),
        Err(error) => Err(format!("cargo does not start: {error}")),
    }
}

/// Writes to standard error, where cargo writes too, and passes `code` on.
fn say(text: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    code
}
