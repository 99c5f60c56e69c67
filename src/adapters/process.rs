//! What the system tells of this process, where it has a `/proc`.

use std::fs;
use std::io::{BufRead, BufReader};

use crate::metrics::ProcessFigures;

/// Ticks of the clock that processor times are counted in, a second: the same on every architecture
/// that Linux and Rust share.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads it. What cannot be read is absent, as everything is on systems without `/proc`.
pub fn figures() -> ProcessFigures {
    let read = |path| fs::read_to_string(path).ok();
    let stat = read("/proc/self/stat").as_deref().and_then(Stat::parse);
    ProcessFigures {
        cpu_seconds: stat.map(|stat| seconds(stat.cpu_ticks)),
        resident_bytes: read("/proc/self/status").as_deref().and_then(resident_bytes),
        open_fds: open_fds(),
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        start_time_seconds: stat.zip(boot_seconds()).map(|(stat, boot)| {
            #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
            let boot = boot as f64;
            boot + seconds(stat.start_ticks)
        }),
    }
}

/// The fields of `/proc/self/stat` that are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the machine started.
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program comes first, in parentheses, and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // Numbered from the third, as in proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)?.checked_add(field(15)?)?, start_ticks: field(22)? })
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // Reading the folder holds one more.
    u64::try_from(open.saturating_sub(1)).ok()
}

/// When the machine started, in seconds since the Unix epoch.
fn boot_seconds() -> Option<u64> {
    let lines = BufReader::new(fs::File::open("/proc/stat").ok()?).lines();
    lines.map_while(Result::ok).find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let rest =
            "S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 4 0 5000 1000000 250 18446744073709551615";
        for name in ["bizra-api", "a b", ") S 1 2 (", "(("] {
            let stat = Stat::parse(&format!("42 ({name}) {rest}\n"));
            let expected = Stat { cpu_ticks: 150, start_ticks: 5000 };
            assert_eq!(stat, Some(expected), "{name}");
        }
        for text in ["", "42", "42 (x", "42 (x) S 1 2", "42 (x) S a b c d e f g h i j k l m n o p"]
        {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        assert_eq!(resident_bytes("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        for text in ["", "VmRSS:", "VmRSS: 1", "VmRSS: x kB", "VmRSS: -1 kB"] {
            assert_eq!(resident_bytes(text), None, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen_as_it_is() {
        let before = figures();
        let held: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = figures();
        // Other tests of this process open and close files meanwhile.
        assert!(after.open_fds.unwrap() + 10 >= before.open_fds.unwrap() + held.len() as u64);
        assert!(after.resident_bytes > Some(memory.iter().map(|byte| u64::from(*byte)).sum()));
        assert!(after.cpu_seconds >= before.cpu_seconds && after.cpu_seconds.is_some());
        assert!(after.max_fds > after.open_fds);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - after.start_time_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
