//! What the system says of the machine that this process runs on. The rules are in
//! `domain::hardware`; here files are read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::domain::hardware::{
    self, Gpu, Groups, Machine, Memory, bytes_limit, cpu_max, left, levels, meminfo, share, stat,
};

/// Bytes of a file of the system that are looked at; all of them are much smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Graphics processors that are looked at.
const GPUS_MAX: usize = 64;

/// What this process runs on.
pub fn read() -> Machine {
    let mut machine = below(Path::new("/"));
    // Affinity is known to the process alone.
    machine.cores = std::thread::available_parallelism().ok().map(usize::from);
    machine
}

/// The same, of a system whose files are below `root`; all but the processors of this process.
pub fn below(root: &Path) -> Machine {
    let groups = text(&root.join("proc/self/cgroup")).map(|text| hardware::groups(&text));
    let groups = groups.unwrap_or_default();
    Machine {
        cores: None,
        quota: quota(root, &groups),
        memory: text(&root.join("proc/meminfo")).and_then(|text| meminfo(&text)),
        limit: limit(root, &groups),
        gpus: gpus(root),
    }
}

/// Bytes that this user may still write where `path` is, or would be.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Files that a process may have open: this one, or that of `pid`.
pub fn open_files(pid: Option<u32>) -> Option<u64> {
    match pid {
        Some(pid) => hardware::open_files(&text(Path::new(&format!("/proc/{pid}/limits")))?),
        None => Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
    }
}

/// A small file of the system; `None` where it is not, or may not be read.
fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The tightest limit on memory of all groups that this process is in.
fn limit(root: &Path, groups: &Groups) -> Option<Memory> {
    let mut limits = Vec::new();
    for dir in unified(root, groups) {
        let high = text(&dir.join("memory.high")).and_then(|text| bytes_limit(&text));
        let max = text(&dir.join("memory.max")).and_then(|text| bytes_limit(&text));
        if let Some(limit) = high.into_iter().chain(max).min() {
            let used = text(&dir.join("memory.current")).and_then(|text| bytes_limit(&text));
            limits.push(of_group(&dir, limit, used, "inactive_file"));
        }
    }
    for dir in first(root, groups.memory.as_ref()) {
        let limit = text(&dir.join("memory.limit_in_bytes")).and_then(|text| bytes_limit(&text));
        if let Some(limit) = limit {
            let used = text(&dir.join("memory.usage_in_bytes")).and_then(|text| bytes_limit(&text));
            limits.push(of_group(&dir, limit, used, "total_inactive_file"));
        }
    }
    limits.into_iter().min_by_key(|memory| memory.available)
}

fn of_group(dir: &Path, limit: u64, used: Option<u64>, key: &str) -> Memory {
    let given_back = text(&dir.join("memory.stat")).and_then(|text| stat(&text, key));
    left(limit, used.unwrap_or_default(), given_back.unwrap_or_default())
}

/// The tightest limit on processors of all groups that this process is in.
fn quota(root: &Path, groups: &Groups) -> Option<f64> {
    let second =
        unified(root, groups).into_iter().filter_map(|dir| cpu_max(&text(&dir.join("cpu.max"))?));
    let first = first(root, groups.cpu.as_ref()).into_iter().filter_map(|dir| {
        share(&text(&dir.join("cpu.cfs_quota_us"))?, &text(&dir.join("cpu.cfs_period_us"))?)
    });
    second.chain(first).reduce(f64::min)
}

/// The directories of the group of version 2, the innermost first.
fn unified(root: &Path, groups: &Groups) -> Vec<PathBuf> {
    let mount = root.join("sys/fs/cgroup");
    let path = groups.unified.as_deref().filter(|_| mount.join("cgroup.controllers").exists());
    path.map(levels).unwrap_or_default().iter().map(|level| mount.join(level)).collect()
}

/// The directories of a group of version 1, the innermost first. In a container the group's path is
/// often that outside, and only the mount itself is there.
fn first(root: &Path, group: Option<&(String, String)>) -> Vec<PathBuf> {
    let Some((controllers, path)) = group else { return Vec::new() };
    let mount = root.join("sys/fs/cgroup").join(controllers);
    levels(path).iter().map(|level| mount.join(level)).collect()
}

/// Graphics processors with a driver, of the makers whose can compute.
fn gpus(root: &Path) -> Option<Vec<Gpu>> {
    // A system without this says nothing about devices.
    if !root.join("sys/class").is_dir() {
        return None;
    }
    let mut gpus = Vec::new();
    for dir in entries(&root.join("proc/driver/nvidia/gpus")) {
        let information = text(&dir.join("information")).unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("Model:"));
        let name = model.map_or("NVIDIA", str::trim).to_owned();
        // Only the driver's own library tells its memory.
        gpus.push(Gpu { name, memory: None });
    }
    let has_nvidia = !gpus.is_empty();
    for dir in entries(&root.join("sys/class/drm")) {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_card = name.strip_prefix("card").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let vendor = text(&dir.join("device/vendor")).unwrap_or_default();
        let name = match vendor.trim() {
            "0x10de" if !has_nvidia => "NVIDIA",
            "0x1002" => "AMD",
            "0x8086" => "Intel",
            _ => continue,
        };
        if is_card {
            let memory = text(&dir.join("device/mem_info_vram_total"));
            let memory = memory.and_then(|text| bytes_limit(&text));
            gpus.push(Gpu { name: name.to_owned(), memory });
        }
    }
    Some(gpus)
}

/// What is in a directory, by name.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).take(GPUS_MAX).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system of these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 800 kB\n");

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/a/memory.max", "100000\n"),
            ("sys/fs/cgroup/a/memory.current", "70000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 20000\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.high", "90000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "10000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
        ]);
        let machine = below(root.path());
        assert_eq!(machine.memory, Some(Memory { total: 1000 << 10, available: 800 << 10 }));
        assert_eq!(machine.limit, Some(Memory { total: 100_000, available: 50_000 }));
        assert_eq!(machine.quota, Some(1.5));
        assert_eq!(machine.memory_available(), Some(50_000));
    }

    #[test]
    fn a_group_of_version_1_is_found_also_where_its_path_is_that_outside() {
        let inside = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "50000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "10000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 5000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n"),
        ];
        let machine = below(system(&inside).path());
        assert_eq!(machine.limit, Some(Memory { total: 50_000, available: 45_000 }));
        assert_eq!(machine.quota, Some(2.0));
        let unlimited = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("proc/self/cgroup", "4:memory:/\n1:cpu:/\n"),
        ];
        let machine = below(system(&unlimited).path());
        assert_eq!((machine.limit, machine.quota), (None, None));
    }

    #[test]
    fn a_system_that_says_nothing_is_unknown() {
        let root = system(&[]);
        assert_eq!(below(root.path()), Machine::default());
        assert_eq!(below(&root.path().join("absent")), Machine::default());
    }

    #[test]
    fn graphics_processors_are_those_that_can_compute() {
        let root = system(&[
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA H100\nIRQ: 1\n",
            ),
            ("sys/class/drm/card0/device/vendor", "0x10de\n"),
            ("sys/class/drm/card1/device/vendor", "0x1002\n"),
            ("sys/class/drm/card1/device/mem_info_vram_total", "17163091968\n"),
            ("sys/class/drm/card1-DP-1/device/vendor", "0x1002\n"),
            ("sys/class/drm/card2/device/vendor", "0x1234\n"),
            ("sys/class/drm/renderD128/device/vendor", "0x1002\n"),
        ]);
        let gpus = below(root.path()).gpus.unwrap();
        assert_eq!(
            gpus,
            [
                Gpu { name: "NVIDIA H100".to_owned(), memory: None },
                Gpu { name: "AMD".to_owned(), memory: Some(17_163_091_968) },
            ]
        );
        assert_eq!(below(system(&[("sys/class/x", "")]).path()).gpus, Some(Vec::new()));
    }

    #[test]
    fn this_machine_is_read() {
        let machine = read();
        assert!(machine.cores.is_some_and(|cores| cores > 0));
        assert!(open_files(None).is_some_and(|files| files > 0));
        assert!(free_bytes(Path::new("/absent/and/deeper")).is_some());
        assert_eq!(open_files(Some(u32::MAX)), None);
    }
}
