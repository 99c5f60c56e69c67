//! Where a node keeps its data: where it was told, or in a folder that goes with it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::input::random;

/// A data directory.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    /// One that stays.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), is_temporary: false }
    }

    /// A new one that only this user may read, removed when this is dropped.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn temporary() -> Result<Self> {
        let name = format!("bizra-{:016x}", u64::from_le_bytes(random()?));
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            let message = format!("cannot make the folder {}: {error}", path.display());
            Error::invalid(message).code("DATA_DIR")
        })?;
        Ok(Self { path, is_temporary: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to whoever cleans the system's folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
