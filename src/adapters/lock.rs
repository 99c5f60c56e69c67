//! The lock on a data directory: one node owns it at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the lock file. It stays when the node ends; what counts is the lock on it.
const FILE: &str = "lock";

/// How often it is tried, and the pause before the next try: [`holder`] has the lock for a moment, and
/// must not keep a node from starting.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Why a data directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by {}; stop it or choose another directory",
        dir.display(),
        process(*pid)
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Its holder, if it said who it is.
        pid: Option<u32>,
    },
    /// The directory or the file could not be made or locked.
    #[error("data directory {}: {source}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Ownership of a data directory, until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    /// Closing it releases the lock.
    _file: File,
}

impl DirLock {
    /// Makes the directory if there is none (mode 0700) and locks it, without waiting for a process
    /// that has it.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process, or another part of this one, has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let fail = |source| LockError::Io { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(FILE))
            .map_err(fail)?;
        let mut tries = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { dir: dir.to_owned(), pid: read_pid(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

/// Who holds a data directory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    None,
    /// Somebody, who said his process id unless he had the lock only just then.
    Process(Option<u32>),
}

/// Looks who holds the directory, and changes nothing.
///
/// # Errors
/// When the file of the lock is there and cannot be read.
pub fn holder(dir: &Path) -> Result<Holder, LockError> {
    let fail = |source| LockError::Io { dir: dir.to_owned(), source };
    let mut file = match File::open(dir.join(FILE)) {
        Err(error) if is_absent(&error) => return Ok(Holder::None),
        opened => opened.map_err(fail)?,
    };
    // Shared, so that two who look do not take each other for a node.
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::None),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(read_pid(&mut file))),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The file may be empty for a moment, or hold anything.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("new/data");
        let lock = DirLock::acquire(&dir).unwrap();
        let error = DirLock::acquire(&dir).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(&error, LockError::Held { pid: Some(held), .. } if *held == pid));
        let text = error.to_string();
        assert!(text.contains(&pid.to_string()) && text.contains("new/data"), "{text}");
        drop(lock);
        DirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn who_only_looks_holds_nobody_up() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        assert_eq!(holder(&dir).unwrap(), Holder::None);
        assert!(!dir.exists());
        let lock = DirLock::acquire(&dir).unwrap();
        assert_eq!(holder(&dir).unwrap(), Holder::Process(Some(std::process::id())));
        drop(lock);
        assert_eq!(holder(&dir).unwrap(), Holder::None);
        // One who looks all the time, and one who starts meanwhile.
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    holder(&dir).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let taken = (0..30).map(|_| DirLock::acquire(&dir).map(drop)).collect::<Vec<_>>();
            end.store(true, std::sync::atomic::Ordering::Relaxed);
            looking.join().unwrap();
            taken.into_iter().for_each(Result::unwrap);
        });
    }

    #[test]
    fn what_a_dead_owner_left_does_not_matter() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(FILE), "4294967295 and more than a pid").unwrap();
        DirLock::acquire(root.path()).unwrap();
        let text = std::fs::read_to_string(root.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error_with_its_name() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DirLock::acquire(&file.join("data")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert!(error.to_string().contains("file/data"));
    }
}
