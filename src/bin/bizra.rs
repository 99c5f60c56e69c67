//! The command line; its commands live in `cli`.

use std::io::Write;
use std::process::ExitCode;

use bizra_omega::cli::bizra::BizraArgs;
use bizra_omega::cli::client::CliError;
use bizra_omega::cli::commands::run;
use clap::Parser;

fn main() -> ExitCode {
    let args = match BizraArgs::try_parse() {
        Ok(args) => args,
        Err(shown) => {
            let _ = shown.print();
            return ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(2));
        }
    };
    let (mut out, mut errors) = (std::io::stdout(), std::io::stderr());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(args, &mut out, &mut errors)) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads has seen enough, as in `bizra actors | head -1`.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &CliError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "bizra: {}", error.to_text());
    ExitCode::from(error.exit_code())
}
