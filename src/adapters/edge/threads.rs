//! How many threads compute.
//!
//! candle reads the number from the environment, once, and its own guess is the machine's physical
//! cores: too many inside a container that may use only some of them, where its threads then wait
//! for each other while none runs. Nothing in a running process can change the environment safely,
//! so the program starts itself again with the right one.

use std::io;

/// The variables that candle reads: for unquantized and for quantized matrices.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The number of threads that compute.
#[must_use]
pub fn threads() -> usize {
    candle_core::utils::get_num_threads()
}

/// Makes `configured` threads compute; 0 means as many as this process may use cores. Call it
/// before anything else runs: if candle would use another number, the program is replaced by
/// itself with the same arguments, and this does not return. A number that is already in the
/// environment is left as it is.
///
/// # Errors
/// If the program cannot be started again.
pub fn apply(configured: usize) -> io::Result<()> {
    let is_set = VARIABLES.iter().any(|variable| std::env::var_os(variable).is_some());
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    match wanted(configured, is_set, threads(), available) {
        Some(threads) => start_again(threads),
        None => Ok(()),
    }
}

/// The number to start again with; `None` if it is right, or not ours to decide.
fn wanted(configured: usize, is_set: bool, current: usize, available: usize) -> Option<usize> {
    let wanted = if configured == 0 { current.min(available) } else { configured };
    // A number that is set was set by the operator or by us: starting again could go on for ever.
    (!is_set && wanted != current).then_some(wanted)
}

#[cfg(unix)]
fn start_again(threads: usize) -> io::Result<()> {
    use std::os::unix::process::CommandExt;

    let mut program = std::process::Command::new(std::env::current_exe()?);
    program.args(std::env::args_os().skip(1));
    program.envs(VARIABLES.map(|variable| (variable, threads.to_string())));
    Err(program.exec())
}

/// Elsewhere a process cannot be replaced; the number stays candle's.
#[cfg(not(unix))]
fn start_again(_threads: usize) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_number_is_wanted() {
        assert_eq!(wanted(3, false, 8, 8), Some(3));
        assert_eq!(wanted(8, false, 8, 8), None);
    }

    #[test]
    fn without_one_no_more_threads_than_cores_that_may_be_used() {
        assert_eq!(wanted(0, false, 32, 2), Some(2));
        assert_eq!(wanted(0, false, 4, 8), None);
    }

    #[test]
    fn a_number_in_the_environment_is_left_as_it_is() {
        assert_eq!(wanted(3, true, 8, 8), None);
        assert_eq!(wanted(0, true, 32, 2), None);
    }
}
