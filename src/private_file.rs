//! Small files that nobody but their owner may read, written whole or not at all: keys, the API
//! token, passphrases. The node and its owner's commands read them by one rule.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::domain::bytes;

/// Begins the name of a file that is being written. One that is found later was left by a crash.
const TEMPORARY: &str = ".tmp-";

/// Why a private file could not be read or written. The text names the file and, where there is
/// one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The path is a link, which could point to a file that others may write.
    #[error("{} is a link, which is not followed", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// Others than the owner have access to it.
    #[error(
        "{0} is open to others (mode {mode:04o}); run: chmod {remedy:o} {0}",
        path.display(),
        remedy = if *is_dir { 0o700 } else { 0o600 }
    )]
    Open {
        /// Which one.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a directory.
        is_dir: bool,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {uid}, not to the user of this process", path.display())]
    Owner {
        /// Which one.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It is a directory, a pipe or a device, or larger than such a file can be.
    #[error("{} is not a regular file of at most {bytes_max} bytes", path.display())]
    NotSmall {
        /// Which one.
        path: PathBuf,
        /// The most that it may have.
        bytes_max: usize,
    },
    /// The system gave no random bytes for a name.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
}

impl PrivateFileError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file of at most `bytes_max` bytes, unless others have access to it.
///
/// # Errors
/// [`PrivateFileError`].
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let fail = |source| PrivateFileError::Io { path: path.to_owned(), source };
    // Not through a link, and without waiting if somebody put a pipe there.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => PrivateFileError::Link { path: path.to_owned() },
        _ => fail(error),
    })?;
    let metadata = file.metadata().map_err(fail)?;
    refuse_open(path, &metadata)?;
    let not_small = || PrivateFileError::NotSmall { path: path.to_owned(), bytes_max };
    if !metadata.is_file() {
        return Err(not_small());
    }
    // As large as it can become: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 2));
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > bytes_max {
        return Err(not_small());
    }
    Ok(bytes)
}

/// Refuses what belongs to somebody else, or what others have access to.
///
/// # Errors
/// [`PrivateFileError::Owner`] or [`PrivateFileError::Open`].
pub fn refuse_open(path: &Path, metadata: &fs::Metadata) -> Result<(), PrivateFileError> {
    let uid = metadata.uid();
    if uid != rustix::process::geteuid().as_raw() {
        return Err(PrivateFileError::Owner { path: path.to_owned(), uid });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let is_dir = metadata.is_dir();
        return Err(PrivateFileError::Open { path: path.to_owned(), mode, is_dir });
    }
    Ok(())
}

/// Puts a file in place (mode 0600) so that a crash leaves the old one, or none, or the new one.
///
/// # Errors
/// When it could not be written; what was there is there still.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> Result<(), PrivateFileError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(PrivateFileError::Random)?;
    let temporary = dir.join(format!("{TEMPORARY}{}", bytes::to_hex(&random)));
    let written =
        write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, dir.join(name)));
    if let Err(source) = written {
        // This error is the one to tell; the next use tries to remove the file again.
        let _ = fs::remove_file(&temporary);
        return Err(PrivateFileError::Io { path: dir.join(name), source });
    }
    sync_dir(dir)
}

/// Makes a file (mode 0600) where there is none yet, and never overwrites one.
///
/// # Errors
/// When there is something, or it could not be written; then there is none.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let fail = |source| PrivateFileError::Io { path: path.to_owned(), source };
    let mut file = create(path).map_err(fail)?;
    if let Err(source) = file.write_all(content).and_then(|()| file.sync_all()) {
        // Half of it is worth nothing, and this error is the one to tell.
        let _ = fs::remove_file(path);
        return Err(fail(source));
    }
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => sync_dir(dir),
        _ => sync_dir(Path::new(".")),
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Removes what a crash left half written by [`write()`].
///
/// # Errors
/// When the directory cannot be read or changed.
pub fn remove_temporary(dir: &Path) -> Result<(), PrivateFileError> {
    let fail = |source| PrivateFileError::Io { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(|source| PrivateFileError::Io { path, source })?;
        }
    }
    Ok(())
}

/// A rename or removal is durable when its directory is.
///
/// # Errors
/// When the directory could not be synced.
pub fn sync_dir(dir: &Path) -> Result<(), PrivateFileError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| PrivateFileError::Io { path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        read(path, 16).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", b"one").unwrap();
        write(dir.path(), "a", b"two").unwrap();
        let path = dir.path().join("a");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(*read(&path, 3).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(write_new(&path, b"two").is_err());
        assert_eq!(*read(&path, 3).unwrap(), b"one");
        // Nor what a link points to.
        let link = dir.path().join("link");
        symlink(dir.path().join("b"), &link).unwrap();
        assert!(write_new(&link, b"x").is_err() && !dir.path().join("b").exists());
    }

    #[test]
    fn each_wrong_state_has_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let shown = path.display();
        assert_eq!(refusal(&path), format!("{shown}: No such file or directory (os error 2)"));
        assert!(read(&path, 16).unwrap_err().is_absent());
        write(dir.path(), "a", &[b'x'; 17]).unwrap();
        assert_eq!(refusal(&path), format!("{shown} is not a regular file of at most 16 bytes"));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
            set_mode(&path, mode);
            let text =
                format!("{shown} is open to others (mode {mode:04o}); run: chmod 600 {shown}");
            assert_eq!(refusal(&path), text);
        }
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let text = format!("{} is a link, which is not followed", link.display());
        assert_eq!(refusal(&link), text);
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o755);
        assert!(refusal(&folder).contains("chmod 700"));
        set_mode(&folder, 0o700);
        assert!(refusal(&folder).contains("is not a regular file"));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        assert!(refusal(&path).contains("is not a regular file"));
    }
}
