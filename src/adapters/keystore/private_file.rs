//! Small files that nobody but their owner may read, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::KeystoreError;
use crate::domain::bytes;

/// Bytes of such a file: an identity in any spelling, and no more memory than that.
pub(super) const FILE_BYTES_MAX: usize = 4096;

/// Begins the name of a file that is being written. One that is found later was left by a crash.
const TEMPORARY: &str = ".tmp-";

/// Reads a file, unless others have access to it.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let fail = |source| KeystoreError::Io { path: path.to_owned(), source };
    // Not through a link, and without waiting if somebody put a pipe there.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    refuse_open(path, &metadata)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX as u64 {
        let problem = "not a small regular file";
        return Err(KeystoreError::Damaged { path: path.to_owned(), problem });
    }
    // As large as it can become: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Refuses what belongs to somebody else, or what others have access to.
pub(super) fn refuse_open(path: &Path, metadata: &fs::Metadata) -> Result<(), KeystoreError> {
    let uid = metadata.uid();
    if uid != rustix::process::geteuid().as_raw() {
        return Err(KeystoreError::Owner { path: path.to_owned(), uid });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let is_dir = metadata.is_dir();
        return Err(KeystoreError::Open { path: path.to_owned(), mode, is_dir });
    }
    Ok(())
}

/// Puts a file in place (mode 0600) so that a crash leaves the old one, or none, or the new one.
pub(super) fn write(dir: &Path, name: &str, content: &[u8]) -> Result<(), KeystoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(KeystoreError::Random)?;
    let temporary = dir.join(format!("{TEMPORARY}{}", bytes::to_hex(&random)));
    let written =
        write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, dir.join(name)));
    if let Err(source) = written {
        // This error is the one to tell; the next use tries to remove the file again.
        let _ = fs::remove_file(&temporary);
        return Err(KeystoreError::Io { path: dir.join(name), source });
    }
    sync_dir(dir)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes what a crash left half written.
pub(super) fn remove_temporary(dir: &Path) -> Result<(), KeystoreError> {
    let fail = |source| KeystoreError::Io { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(|source| KeystoreError::Io { path, source })?;
        }
    }
    Ok(())
}

/// A rename is durable when its directory is.
pub(super) fn sync_dir(dir: &Path) -> Result<(), KeystoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| KeystoreError::Io { path: dir.to_owned(), source })
}
