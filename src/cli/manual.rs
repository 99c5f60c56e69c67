//! `bizra completions` and `bizra man`: what shells and readers of manuals want, made from the
//! command line itself. Needs no node.

use std::io;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::args::NodeArgs;
use crate::cli::bizra::BizraArgs;
use crate::cli::client::CliError;
use crate::cli::commands::Say;

/// The programs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Program {
    /// This one
    Bizra,
    /// The node
    BizraApi,
}

impl Program {
    fn command(self) -> Command {
        match self {
            Self::Bizra => BizraArgs::command(),
            Self::BizraApi => NodeArgs::command(),
        }
    }
}

/// What `bizra completions` takes.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
    /// Whose arguments to complete
    #[arg(long, default_value = "bizra")]
    program: Program,
}

/// What `bizra man` takes.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write one page for each command of both programs into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Whose page to print
    #[arg(long, default_value = "bizra", conflicts_with = "out")]
    program: Program,
}

/// Prints a completion script.
///
/// # Errors
/// When it cannot be written.
pub(super) fn completions(args: &CompletionsArgs, say: &mut Say<'_>) -> Result<u8, CliError> {
    let mut command = args.program.command();
    let name = command.get_name().to_owned();
    // Into memory first: the library panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    say.out.write_all(&script)?;
    say.out.flush()?;
    Ok(0)
}

/// Prints a manual page, or writes all of them.
///
/// # Errors
/// When one cannot be written.
pub(super) fn man(args: ManArgs, say: &mut Say<'_>) -> Result<u8, CliError> {
    let Some(dir) = args.out else {
        say.out.write_all(&page(args.program.command())?)?;
        say.out.flush()?;
        return Ok(0);
    };
    std::fs::create_dir_all(&dir).map_err(|error| wrong(&dir, &error))?;
    for program in Program::value_variants() {
        let command = program.command();
        clap_mangen::generate_to(command, &dir).map_err(|error| wrong(&dir, &error))?;
    }
    Ok(0)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn wrong(dir: &std::path::Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("{}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command and all below it, with how they are called.
    fn walk(command: &Command, path: &str, visit: &mut dyn FnMut(&str, &Command)) {
        let path = format!("{path} {}", command.get_name());
        visit(path.trim_start(), command);
        for command in command.get_subcommands().filter(|it| it.get_name() != "help") {
            walk(command, &path, visit);
        }
    }

    fn every(visit: &mut dyn FnMut(&str, &Command)) {
        for program in Program::value_variants() {
            let mut command = program.command();
            command.build();
            walk(&command, "", visit);
        }
    }

    #[test]
    fn everything_that_can_be_typed_has_its_help() {
        let mut missing = Vec::new();
        let mut seen = 0;
        every(&mut |path, command| {
            seen += 1;
            if command.get_about().is_none_or(|about| about.to_string().trim().is_empty()) {
                missing.push(path.to_owned());
            }
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                if help.trim().is_empty() {
                    missing.push(format!("{path}: {}", argument.get_id()));
                }
                // What ends in a full stop was not written for a list.
                if help.ends_with('.') {
                    missing.push(format!("{path}: {}: full stop", argument.get_id()));
                }
            }
        });
        assert!(seen > 30, "{seen}");
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn every_command_has_a_page_that_names_what_is_below_it() {
        every(&mut |path, command| {
            let text = String::from_utf8(page(command.clone()).unwrap()).unwrap();
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{path}: {text}");
            for below in command.get_subcommands().filter(|it| it.get_name() != "help") {
                let name = below.get_name().replace('-', "\\-");
                assert!(text.contains(&name), "{path}: no {name} in {text}");
            }
        });
    }

    #[test]
    fn every_shell_completes_every_command() {
        for program in Program::value_variants() {
            for shell in Shell::value_variants() {
                let mut command = program.command();
                let name = command.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut command, name, &mut script);
                let script = String::from_utf8(script).unwrap();
                for below in command.get_subcommands() {
                    assert!(script.contains(below.get_name()), "{shell}: {}", below.get_name());
                }
                assert!(script.contains("data-dir"), "{shell}");
            }
        }
    }
}
