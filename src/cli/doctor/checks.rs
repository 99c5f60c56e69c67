//! The single looks: hardware, configuration, files, the node and its port.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};
use serde_json::Value;

use super::{Finding, bytes};
use crate::adapters::keystore::Keystore;
use crate::adapters::lock::{self, Holder};
use crate::address_file;
use crate::cli::client::{CliError, Target};
use crate::cli::trust;
use crate::config::Config;
use crate::domain::constitution::{Constitution, DOCUMENT_BYTES_MAX};
use crate::domain::hardware::Machine;
use crate::machine;
use crate::private_file::refuse_open;
use crate::token_file;

/// Open files beside those of connections: the store, logs, models, the model server.
const OTHER_FILES: u64 = 128;
/// Free disk beyond the floor below which a node that works for some days meets it.
const DISK_ROOM: u64 = 1 << 30;
/// What a clock may be behind a file before it is wrong.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// No clock that is right shows an earlier time than the first release of this program: 2026-01-01.
const CLOCK_MIN_SECONDS: u64 = 1_767_225_600;
/// Where services that set the clock say that they did.
const CLOCK_SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Processors, memory, graphics processors.
pub(super) fn hardware(machine: &Machine) -> Vec<Finding> {
    let processors = match (machine.cores, machine.quota) {
        (None, _) => Finding::warn("processors", "unknown", None),
        (Some(cores), None) => Finding::ok("processors", cores.to_string()),
        (Some(cores), Some(quota)) => {
            let text = format!("{cores}, limited to the time of {quota:.1} by the control group");
            Finding::ok("processors", text)
        }
    };
    let memory = match (machine.memory, machine.limit) {
        (None, None) => Finding::warn("memory", "unknown", None),
        (Some(memory), None) => {
            let text = format!("{}, {} free", bytes(memory.total), bytes(memory.available));
            Finding::ok("memory", text)
        }
        (memory, Some(limit)) => {
            let all = memory.map_or_else(|| "unknown".to_owned(), |memory| bytes(memory.total));
            let text = format!(
                "{all}, limited to {} by the control group, {} free",
                bytes(limit.total),
                bytes(machine.memory_available().unwrap_or(limit.available)),
            );
            Finding::ok("memory", text)
        }
    };
    let gpus = match machine.gpus.as_deref() {
        None => "unknown".to_owned(),
        Some([]) => "none that the system shows".to_owned(),
        Some(gpus) => {
            let shown = gpus.iter().map(|gpu| match gpu.memory {
                Some(memory) => format!("{} with {}", gpu.name, bytes(memory)),
                None => format!("{}, memory unknown", gpu.name),
            });
            shown.collect::<Vec<_>>().join("; ")
        }
    };
    vec![processors, memory, Finding::ok("graphics", gpus), clock(SystemTime::now(), None)]
}

/// Whether the clock can be right: envelopes name their time, and expire.
fn clock(now: SystemTime, newest: Option<(&Path, SystemTime)>) -> Finding {
    let remedy = || Some("set the clock, for example with: timedatectl set-ntp true".to_owned());
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if seconds < CLOCK_MIN_SECONDS {
        return Finding::fail("clock", "shows a time before this program was written", remedy());
    }
    if let Some((path, written)) = newest
        && written.duration_since(now).is_ok_and(|ahead| ahead > CLOCK_SLACK)
    {
        let text = format!("is behind the last change of {}", path.display());
        return Finding::fail("clock", text, remedy());
    }
    if Path::new(CLOCK_SYNCHRONIZED).exists() {
        return Finding::ok("clock", "plausible, and set by the time service");
    }
    Finding::ok("clock", "plausible; whether a time service sets it is unknown")
}

/// What the node would refuse to start with, as far as it can be told without starting.
pub(super) fn configuration(config: &Config) -> Finding {
    let (check, http) = ("configuration", &config.http);
    let is_open = !http.host.to_canonical().is_loopback();
    let refuse = |text: String, remedy: &str| Finding::fail(check, text, remedy.to_owned());
    match (&http.tls_cert, &http.tls_key) {
        (Some(certificate), Some(key)) => {
            if let Err(error) = trust::read(certificate) {
                return refuse(error.to_string(), "name the certificate in http.tls_cert");
            }
            if let Err(error) = std::fs::File::open(key) {
                let text = format!("{}: {error}", key.display());
                return refuse(text, "name the certificate's key in http.tls_key");
            }
        }
        (None, None) if is_open && !http.insecure => {
            let text =
                format!("http.host {} without TLS would show the token to others", http.host);
            return refuse(text, "add --tls-cert and --tls-key, or --insecure");
        }
        (None, None) => {}
        _ => {
            let text = "http.tls_cert and http.tls_key go together".to_owned();
            return refuse(text, "give both");
        }
    }
    if let Some(file) = &config.gates.constitution {
        let read = std::fs::read(file).map_err(|error| error.to_string()).and_then(|text| {
            let text = text.get(..DOCUMENT_BYTES_MAX + 1).unwrap_or(&text);
            let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
            let origin = file.display().to_string();
            Constitution::parse(&origin, text).map_err(|error| error.to_string())
        });
        return match read {
            Ok(constitution) => {
                let (version, file) = (constitution.version(), file.display());
                Finding::ok(check, format!("valid; constitution {version} of {file}"))
            }
            Err(error) => refuse(
                format!("gates.constitution: {}: {error}", file.display()),
                "see: bizra constitution check FILE",
            ),
        };
    }
    let version = Constitution::default().version().to_string();
    Finding::ok(check, format!("valid; constitution {version}, built in"))
}

/// The data directory: who may read it, its disk, its keys and its token.
pub(super) fn files(config: &Config) -> Vec<Finding> {
    let dir = &config.node.data_dir;
    let mut findings = vec![directory(dir)];
    findings.push(disk(dir, config.store.free_bytes_min));
    if dir.is_dir() {
        findings.push(keys(dir));
        findings.push(token(dir));
        if let Some((path, written)) = newest(dir) {
            let clock = clock(SystemTime::now(), Some((&path, written)));
            findings.extend((clock.state == super::State::Fail).then_some(clock));
        }
    }
    findings
}

fn directory(dir: &Path) -> Finding {
    let (check, shown) = ("data directory", dir.display());
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
            return if above.is_dir() && access(above, Access::WRITE_OK).is_ok() {
                Finding::ok(check, format!("{shown} is made at the first start"))
            } else {
                let text = format!("{shown} cannot be made in {}", above.display());
                Finding::fail(check, text, "choose another with --data-dir".to_owned())
            };
        }
        Err(error) => {
            let remedy = "choose another with --data-dir".to_owned();
            return Finding::fail(check, format!("{shown}: {error}"), remedy);
        }
    };
    if !metadata.is_dir() || access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let text = format!("{shown} is no directory that this user can write");
        return Finding::fail(check, text, "choose another with --data-dir".to_owned());
    }
    match refuse_open(dir, &metadata) {
        Ok(()) => Finding::ok(check, format!("{shown}, for its owner alone")),
        // Files in it have modes of their own, so it works.
        Err(error) => Finding::warn(check, error.to_string(), None),
    }
}

fn disk(dir: &Path, floor: u64) -> Finding {
    let check = "disk";
    let Some(free) = machine::free_bytes(dir) else {
        return Finding::warn(check, "free space unknown", None);
    };
    let text = format!("{} free", bytes(free));
    if free < floor {
        let text = format!("{text}, and below {} no envelope is made", bytes(floor));
        return Finding::fail(check, text, "make room, or lower store.free_bytes_min".to_owned());
    }
    if free < floor.saturating_add(DISK_ROOM) {
        let text = format!("{text}; below {} no envelope is made", bytes(floor));
        return Finding::warn(check, text, "make room".to_owned());
    }
    Finding::ok(check, text)
}

fn keys(dir: &Path) -> Finding {
    let (check, keystore) = ("keys", Keystore::new(dir));
    let found = keystore.is_encrypted().and_then(|is_encrypted| {
        if is_encrypted { Ok(None) } else { keystore.read().map(|all| Some(all.len())) }
    });
    match found {
        Ok(None) => Finding::ok(check, "encrypted"),
        Ok(Some(0)) => Finding::ok(check, "none yet; the first start makes one"),
        Ok(Some(count)) => {
            Finding::ok(check, format!("{count}, readable by their owner alone, not encrypted"))
        }
        // The text names the remedy.
        Err(error) => Finding::fail(check, error.to_string(), None),
    }
}

fn token(dir: &Path) -> Finding {
    match token_file::read(dir) {
        Ok(_) => Finding::ok("token", "readable by its owner alone"),
        Err(error) if error.is_absent() => {
            Finding::ok("token", "none yet; the first start makes one")
        }
        Err(error) => Finding::fail("token", error.to_string(), None),
    }
}

/// The file in the directory that was changed last.
fn newest(dir: &Path) -> Option<(std::path::PathBuf, SystemTime)> {
    let entries = std::fs::read_dir(dir).ok()?.flatten().take(1024);
    let written =
        entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?)));
    written.max_by_key(|(_, written)| *written)
}

/// Whether a node runs, or could: with the process that holds the directory.
pub(super) async fn node(config: &Config, target: &Target) -> (Vec<Finding>, Option<u32>) {
    let check = "node";
    let dir = &config.node.data_dir;
    let pid = match lock::holder(dir) {
        Err(error) => return (vec![Finding::fail(check, error.to_string(), None)], None),
        Ok(Holder::None) => return (vec![Finding::ok(check, "none runs"), port(config)], None),
        Ok(Holder::Process(pid)) => pid,
    };
    let who = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    let reached = match address_file::read(dir, pid) {
        Ok(Some(reached)) => reached,
        Ok(None) => {
            let text = format!("{who} has the directory and does not say where it is reached");
            let remedy = "wait until it has started or ended".to_owned();
            return (vec![Finding::warn(check, text, remedy)], pid);
        }
        Err(error) => return (vec![Finding::fail(check, error.to_string(), None)], pid),
    };
    let target = Target { url: None, data_dir: Some(dir.clone()), ..target.clone() };
    let health = match target.client() {
        Ok(client) => client.get(&["health"]).await,
        Err(error) => Err(error),
    };
    let at = format!("{who} serves at {}", reached.url);
    let status = |body: &Value| body["status"].as_str().unwrap_or("unknown").to_owned();
    let finding = match health {
        Ok(body) if body["status"] == "healthy" => Finding::ok(check, format!("{at}, healthy")),
        Ok(body) => {
            let text = format!("{at}, {}", status(&body));
            Finding::warn(check, text, "see: bizra actors".to_owned())
        }
        Err(CliError::Refused { body, .. }) => {
            let text = format!("{at}, {}", status(&body));
            Finding::fail(check, text, "see: bizra actors, and its log".to_owned())
        }
        Err(error) => {
            let remedy = "see its log, and start it again".to_owned();
            Finding::fail(check, format!("{who} should serve: {error}"), remedy)
        }
    };
    (vec![finding], pid)
}

/// Whether a node could listen.
fn port(config: &Config) -> Finding {
    let (check, address) = ("port", SocketAddr::new(config.http.host, config.http.port));
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => {
            let remedy = "choose another with --host and --port, or stop what listens there; if it is \
                          a node, its data directory is another one";
            Finding::fail(check, format!("{address}: {error}"), remedy.to_owned())
        }
    }
}

/// Whether as many connections may be open as are configured, in the node that runs or in one that
/// is started from here.
pub(super) fn open_files(config: &Config, pid: Option<u32>) -> Finding {
    let (check, connections) = ("open files", config.http.connections_max as u64);
    let needed = connections.saturating_add(OTHER_FILES);
    match machine::open_files(pid) {
        None => Finding::warn(check, "the limit is unknown", None),
        Some(u64::MAX) => Finding::ok(check, "unlimited"),
        Some(limit) if limit >= needed => {
            Finding::ok(check, format!("{limit} for {connections} connections"))
        }
        Some(limit) => {
            let text = format!("{limit} are too few for {connections} connections");
            let remedy = format!(
                "raise the limit to {needed} (ulimit -n, LimitNOFILE), or lower http.connections_max"
            );
            Finding::warn(check, text, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn a_clock_is_wrong_before_the_program_or_behind_a_file() {
        let now = SystemTime::now();
        let path = Path::new("store");
        assert_eq!(clock(now, None).state, State::Ok);
        assert_eq!(clock(SystemTime::UNIX_EPOCH, None).state, State::Fail);
        assert_eq!(clock(now, Some((path, now + CLOCK_SLACK))).state, State::Ok);
        let ahead = now + CLOCK_SLACK + Duration::from_secs(1);
        let finding = clock(now, Some((path, ahead)));
        assert!(finding.state == State::Fail && finding.text.contains("store"), "{finding:?}");
    }

    #[test]
    fn what_a_node_would_refuse_fails() {
        let mut config = Config::default();
        assert_eq!(configuration(&config).state, State::Ok);
        config.http.host = "0.0.0.0".parse().unwrap();
        assert_eq!(configuration(&config).state, State::Fail);
        config.http.insecure = true;
        assert_eq!(configuration(&config).state, State::Ok);
        config.http.tls_key = Some("/k.pem".into());
        assert!(configuration(&config).text.contains("go together"));
        config.http.tls_cert = Some("/absent.pem".into());
        assert!(configuration(&config).text.contains("/absent.pem"));
        let mut config = Config::default();
        config.gates.constitution = Some("/absent.toml".into());
        assert!(configuration(&config).text.contains("/absent.toml"));
    }

    #[test]
    fn files_that_others_can_read_are_found_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data_dir = dir.path().join("data");
        config.store.free_bytes_min = 0;
        let found = files(&config);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].text.contains("is made at the first start"), "{found:?}");
        std::fs::create_dir(&config.node.data_dir).unwrap();
        token_file::make(&config.node.data_dir).unwrap();
        Keystore::new(&config.node.data_dir).load().unwrap();
        let state = |check: &str| {
            let found = files(&config).into_iter().find(|finding| finding.check == check);
            let found = found.unwrap();
            (found.state, found.text)
        };
        let chmod = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let data = &config.node.data_dir;
        chmod(data, 0o755);
        assert_eq!(state("data directory").0, State::Warn);
        chmod(data, 0o700);
        for check in ["data directory", "disk", "keys", "token"] {
            assert_eq!(state(check).0, State::Ok, "{check}: {}", state(check).1);
        }
        chmod(&data.join(token_file::FILE_NAME), 0o644);
        let (is, text) = state("token");
        assert!(is == State::Fail && text.contains("chmod 600"), "{text}");
        chmod(&data.join("identities"), 0o755);
        let (is, text) = state("keys");
        assert!(is == State::Fail && text.contains("chmod 700"), "{text}");
        config.store.free_bytes_min = u64::MAX;
        assert_eq!(disk(&config.node.data_dir, u64::MAX).state, State::Fail);
    }

    #[test]
    fn a_port_that_is_taken_and_too_few_files_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.http.port = listener.local_addr().unwrap().port();
        assert_eq!(port(&config).state, State::Fail);
        drop(listener);
        config.http.port = 0;
        assert_eq!(port(&config).state, State::Ok);
        config.http.connections_max = 1;
        assert_eq!(open_files(&config, None).state, State::Ok);
        config.http.connections_max = usize::MAX;
        assert_ne!(open_files(&config, None).state, State::Fail);
        assert_eq!(open_files(&config, Some(u32::MAX)).state, State::Warn);
    }
}
