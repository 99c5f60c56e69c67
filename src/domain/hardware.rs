//! What a machine has for a model, read from what the system says of it, and which size of model fits.
//!
//! What the system does not say is unknown, and nothing is concluded from it.

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What may still be had without taking it from others.
    pub available: u64,
}

/// A graphics processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its name, or its maker's.
    pub name: String,
    /// Its own memory, in bytes.
    pub memory: Option<u64>,
}

/// What a machine has; `None` where the system does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: Option<usize>,
    /// Processors' worth of time that its control group may use, if that is limited.
    pub quota: Option<f64>,
    /// Memory of the machine.
    pub memory: Option<Memory>,
    /// Memory of the control group, if that is limited.
    pub limit: Option<Memory>,
    /// Graphics processors.
    pub gpus: Option<Vec<Gpu>>,
}

impl Machine {
    /// Memory that a model may take.
    pub fn memory_available(&self) -> Option<u64> {
        let limit = self.limit.map(|limit| limit.available);
        let memory = self.memory.map(|memory| memory.available);
        memory.into_iter().chain(limit).min()
    }

    /// Processors that a model may use.
    pub fn processors(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 processors")]
        let cores = self.cores.map(|cores| cores as f64);
        cores.into_iter().chain(self.quota).reduce(f64::min)
    }
}

/// Sizes in which models are published, in weights.
pub const SIZES: [u64; 7] = [
    500_000_000,
    1_500_000_000,
    3_000_000_000,
    7_000_000_000,
    14_000_000_000,
    32_000_000_000,
    70_000_000_000,
];

/// Bytes of a weight in four bits with its scales (Q4_K_M: 4.9 bits), in hundredths.
const WEIGHT_PERCENT: u64 = 62;
/// Bytes of cache for a whole context, by weight, in hundredths: 2 GiB for 7 billion.
const CACHE_PERCENT: u64 = 31;
/// What the node takes beside its model.
const NODE_BYTES: u64 = 256 << 20;
/// The part of the memory that a model may take, in hundredths; the rest is for the system.
const SHARE_PERCENT: u64 = 90;

/// Weights that one processor works through in a second: what was measured of the engine in this
/// process, with four-bit weights and two processors, rounded down.
const WEIGHTS_PER_SECOND: f64 = 6e9;
/// More processors than these wait for the memory.
const PROCESSORS_MAX: f64 = 8.0;
/// Tokens a second below which people wait for each word.
const TOKENS_PER_SECOND_MIN: f64 = 5.0;

/// Memory that a model of so many weights takes, in four bits, with a full context.
pub fn needed_bytes(weights: u64) -> u64 {
    (weights / 100).saturating_mul(WEIGHT_PERCENT + CACHE_PERCENT).saturating_add(NODE_BYTES)
}

/// Memory that a model in a file of so many bytes takes, with a full context.
pub fn needed_bytes_of_file(bytes: u64) -> u64 {
    let cache = (bytes / WEIGHT_PERCENT).saturating_mul(CACHE_PERCENT);
    bytes.saturating_add(cache).saturating_add(NODE_BYTES)
}

/// Whether memory of so many bytes is enough for a need of so many.
pub fn is_enough(available: u64, needed: u64) -> bool {
    needed <= available / 100 * SHARE_PERCENT
}

/// What keeps a larger model from fitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// There is no memory for it.
    Memory,
    /// It would be too slow.
    Processors,
    /// Nothing: none larger is published.
    None,
}

/// The largest model that fits in this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Its weights; `None` if not even the smallest fits.
    pub weights: Option<u64>,
    /// What keeps the next larger one out.
    pub bound: Bound,
    /// Tokens a second that it would make, about.
    pub tokens_per_second: Option<f64>,
}

/// The largest model that a machine runs well in four bits; `None` if its memory or its processors
/// are not known.
pub fn fit(machine: &Machine) -> Option<Fit> {
    let (available, processors) = (machine.memory_available()?, machine.processors()?);
    let mut fit = Fit { weights: None, bound: Bound::None, tokens_per_second: None };
    for weights in SIZES {
        let speed = tokens_per_second(weights, processors);
        if !is_enough(available, needed_bytes(weights)) {
            return Some(Fit { bound: Bound::Memory, ..fit });
        }
        // The smallest is worth having at any speed.
        if speed < TOKENS_PER_SECOND_MIN && fit.weights.is_some() {
            return Some(Fit { bound: Bound::Processors, ..fit });
        }
        fit = Fit { weights: Some(weights), tokens_per_second: Some(speed), ..fit };
    }
    Some(fit)
}

/// About how fast so many processors are with so many weights.
fn tokens_per_second(weights: u64, processors: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let weights = weights as f64;
    processors.min(PROCESSORS_MAX) * WEIGHTS_PER_SECOND / weights
}

/// Reads `/proc/meminfo`.
pub fn meminfo(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
}

/// Where the control groups of a process are, by the file `/proc/self/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The group of version 2.
    pub unified: Option<String>,
    /// The mount and the group of version 1 that limits memory.
    pub memory: Option<(String, String)>,
    /// The mount and the group of version 1 that limits processors.
    pub cpu: Option<(String, String)>,
}

/// Reads `/proc/self/cgroup`.
pub fn groups(text: &str) -> Groups {
    let mut groups = Groups::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let has = |name: &str| names.split(',').any(|other| other == name);
        let group = || Some((names.to_owned(), path.to_owned()));
        if id == "0" && names.is_empty() {
            groups.unified = Some(path.to_owned());
        } else if has("memory") {
            groups.memory = group();
        } else if has("cpu") {
            groups.cpu = group();
        }
    }
    groups
}

/// The group itself and all that it is in, the innermost first, as paths below the mount. A group
/// outside of what this process sees is taken for the outermost.
pub fn levels(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.contains(&"..") {
        return vec![String::new()];
    }
    (0..=parts.len()).rev().map(|count| parts[..count].join("/")).collect()
}

/// A limit in bytes: `memory.max` or `memory.limit_in_bytes`. `None` is no limit, which version 1
/// writes as a number that no machine has.
pub fn bytes_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

/// A member of `memory.stat`.
pub fn stat(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// What of a limit is left: pages of files that were only read are given back when asked for.
pub fn left(limit: u64, used: u64, given_back: u64) -> Memory {
    Memory { total: limit, available: limit.saturating_sub(used.saturating_sub(given_back)) }
}

/// Processors' worth of time: `cpu.max` of version 2. `None` is no limit.
pub fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    share(quota, period)
}

/// Processors' worth of time: quota and period in microseconds. A quota of -1 is no limit.
pub fn share(quota: &str, period: &str) -> Option<f64> {
    let quota: u32 = quota.trim().parse().ok()?;
    let period: u32 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// The limit on open files, by the file `/proc/<pid>/limits`.
pub fn open_files(text: &str) -> Option<u64> {
    let soft = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match soft.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(gigabytes: f64, cores: usize) -> Machine {
        let bytes = (gigabytes * 1e9) as u64;
        let memory = Memory { total: bytes * 2, available: bytes };
        Machine { cores: Some(cores), memory: Some(memory), ..Machine::default() }
    }

    #[test]
    fn the_largest_model_is_bound_by_memory_or_by_processors() {
        for (gigabytes, cores, billions, bound) in [
            (0.5, 8, None, Bound::Memory),
            (1.0, 8, Some(0.5), Bound::Memory),
            (4.0, 8, Some(3.0), Bound::Memory),
            (16.0, 8, Some(7.0), Bound::Processors),
            (16.0, 2, Some(1.5), Bound::Processors),
            (16.0, 1, Some(0.5), Bound::Processors),
            // More processors wait for the memory.
            (500.0, 128, Some(7.0), Bound::Processors),
        ] {
            let fit = fit(&machine(gigabytes, cores)).unwrap();
            let weights = billions.map(|billions: f64| (billions * 1e9) as u64);
            assert_eq!((fit.weights, fit.bound), (weights, bound), "{gigabytes} GB, {cores} cores");
            assert_eq!(fit.tokens_per_second.is_some(), weights.is_some());
        }
    }

    #[test]
    fn a_limit_of_the_group_counts_like_a_smaller_machine() {
        let limited = Machine {
            quota: Some(0.5),
            limit: Some(Memory { total: 4_000_000_000, available: 1_900_000_000 }),
            ..machine(64.0, 16)
        };
        assert_eq!(limited.processors(), Some(0.5));
        assert_eq!(limited.memory_available(), Some(1_900_000_000));
        assert_eq!(fit(&limited).unwrap().weights, Some(500_000_000));
        // A limit that is larger than the machine limits nothing.
        let limit = Some(Memory { total: u64::MAX, available: u64::MAX });
        assert_eq!(Machine { limit, ..machine(4.0, 8) }.memory_available(), Some(4_000_000_000));
    }

    #[test]
    fn nothing_is_concluded_from_what_is_unknown() {
        assert_eq!(fit(&Machine::default()), None);
        assert_eq!(fit(&Machine { cores: None, ..machine(64.0, 1) }), None);
        assert_eq!(fit(&Machine { memory: None, ..machine(64.0, 1) }), None);
    }

    #[test]
    fn a_need_grows_with_the_weights_and_a_file_counts_as_it_is() {
        assert!(SIZES.windows(2).all(|two| needed_bytes(two[0]) < needed_bytes(two[1])));
        let weights = 7_000_000_000;
        let file = weights / 100 * WEIGHT_PERCENT;
        assert_eq!(needed_bytes_of_file(file), needed_bytes(weights));
        assert_eq!(needed_bytes_of_file(u64::MAX), u64::MAX);
        assert!(is_enough(100, 90) && !is_enough(100, 91));
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        let text = "MemTotal:       24683656 kB\nMemFree: 1 kB\nMemAvailable:   22875516 kB\n";
        let memory = meminfo(text).unwrap();
        assert_eq!((memory.total, memory.available), (24_683_656 << 10, 22_875_516 << 10));
        for text in ["", "MemTotal: 1 kB", "MemTotal: x kB\nMemAvailable: 1 kB", "MemTotal: 1\n"] {
            assert_eq!(meminfo(text), None, "{text}");
        }
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let two = groups("0::/user.slice/a.scope\n");
        assert_eq!(two.unified.as_deref(), Some("/user.slice/a.scope"));
        assert_eq!((two.memory, two.cpu), (None, None));
        let one = groups("9:name=systemd:/\n4:memory:/a:b/c\n1:cpu,cpuacct:/x\n0::/\nnonsense\n");
        assert_eq!(one.memory, Some(("memory".to_owned(), "/a:b/c".to_owned())));
        assert_eq!(one.cpu, Some(("cpu,cpuacct".to_owned(), "/x".to_owned())));
        assert_eq!(levels("/a/b"), ["a/b", "a", ""]);
        assert_eq!(levels("/"), [""]);
        assert_eq!(levels("/../../etc"), [""]);
    }

    #[test]
    fn limits_are_read_and_the_lack_of_them_too() {
        for (text, bytes) in [
            ("max\n", None),
            ("1048576\n", Some(1 << 20)),
            ("9223372036854771712\n", None),
            ("", None),
        ] {
            assert_eq!(bytes_limit(text), bytes, "{text}");
        }
        for (text, quota) in
            [("max 100000\n", None), ("150000 100000\n", Some(1.5)), ("0 0", None), ("", None)]
        {
            assert_eq!(cpu_max(text), quota, "{text}");
        }
        assert_eq!((share("-1\n", "100000\n"), share("50000", "100000")), (None, Some(0.5)));
        assert_eq!(stat("anon 5\ninactive_file 7\n", "inactive_file"), Some(7));
        assert_eq!(stat("total_inactive_file 7\n", "inactive_file"), None);
        let memory = left(100, 60, 20);
        assert_eq!((memory.total, memory.available), (100, 60));
        assert_eq!(left(100, 200, 0).available, 0);
    }

    #[test]
    fn the_soft_limit_on_open_files_counts() {
        let limits =
            "Limit     Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files  unlimited unlimited files\n"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }
}
