//! The file that says where the running node of a data directory is reached, as the node writes it
//! and its owner's commands read it.
//!
//! It counts only while somebody holds the lock of the directory, and only if that is who wrote it:
//! what a node that was killed left behind is nobody's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::private_file::{self, PrivateFileError};

/// The file's name in the data directory.
const FILE_NAME: &str = "address";

/// An address, a number and a digest are some 200 bytes.
const FILE_BYTES_MAX: usize = 1024;

/// Where a node is, and by what it is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reached {
    /// The process that serves there.
    pub pid: u32,
    /// `http://address:port`, or `https://` if it has a certificate.
    pub url: String,
    /// The digest of the certificate that it shows, as [`fingerprint`] makes it.
    pub certificate: Option<String>,
}

impl Reached {
    /// This process, listening on `address`, with the certificate of this fingerprint.
    pub fn here(address: SocketAddr, certificate: Option<String>) -> Self {
        Self { pid: std::process::id(), url: url(address, certificate.is_some()), certificate }
    }
}

/// How a node that listens on `address` is called from this machine.
pub fn url(address: SocketAddr, is_tls: bool) -> String {
    let host = match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

/// The digest by which a certificate in DER form is known: BLAKE3, in hex.
pub fn fingerprint(certificate: &[u8]) -> String {
    blake3::hash(certificate).to_hex().to_string()
}

/// The file of a node, for as long as this lives. Only for who holds the lock.
#[derive(Debug)]
pub struct Told {
    data_dir: PathBuf,
    address: SocketAddr,
}

impl Told {
    /// That of a node which listens on `address`. Writes nothing yet.
    pub fn of(data_dir: &Path, address: SocketAddr) -> Self {
        Self { data_dir: data_dir.to_owned(), address }
    }

    /// Writes where the node is, and the certificate that it shows from now on.
    pub fn tell(&self, certificate: Option<String>) {
        let reached = Reached::here(self.address, certificate);
        if let Err(error) = write(&self.data_dir, &reached) {
            warn!(%error, "commands find this node only with --url");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        remove(&self.data_dir);
    }
}

/// Puts the file in place (mode 0600).
fn write(data_dir: &Path, reached: &Reached) -> Result<(), PrivateFileError> {
    let mut text = serde_json::to_vec(reached).map_err(|error| PrivateFileError::Io {
        path: data_dir.join(FILE_NAME),
        source: error.into(),
    })?;
    text.push(b'\n');
    private_file::write(data_dir, FILE_NAME, &text)
}

/// Takes away what a node that was killed left. Only for who holds the lock.
///
/// What cannot be removed cannot be written either, and is told of then; once the lock is free it
/// counts for nobody.
pub fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join(FILE_NAME));
}

/// What the process `holder`, which holds the lock, says about itself; `None` if it says nothing, as
/// a node that is starting, or another process did.
///
/// # Errors
/// When the file cannot be read, or others could have written it.
pub fn read(data_dir: &Path, holder: Option<u32>) -> Result<Option<Reached>, PrivateFileError> {
    let bytes = match private_file::read(&data_dir.join(FILE_NAME), FILE_BYTES_MAX) {
        Err(error) if error.is_absent() => return Ok(None),
        read => read?,
    };
    let reached: Option<Reached> = serde_json::from_slice(&bytes).ok();
    Ok(reached.filter(|reached| Some(reached.pid) == holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_on_loopback() {
        for (address, is_tls, expected) in [
            ("0.0.0.0:80", false, "http://127.0.0.1:80"),
            ("[::]:3001", true, "https://[::1]:3001"),
            ("10.0.0.1:3001", true, "https://10.0.0.1:3001"),
        ] {
            assert_eq!(url(address.parse().unwrap(), is_tls), expected);
        }
    }

    #[test]
    fn an_address_counts_for_its_writer_alone() {
        let dir = tempfile::tempdir().unwrap();
        let here = Reached::here("127.0.0.1:5".parse().unwrap(), Some(fingerprint(b"x")));
        assert_eq!(read(dir.path(), Some(here.pid)).unwrap(), None);
        write(dir.path(), &here).unwrap();
        assert_eq!(read(dir.path(), Some(here.pid)).unwrap(), Some(here.clone()));
        // Left by one that is gone, while another holds the directory.
        assert_eq!(read(dir.path(), Some(here.pid + 1)).unwrap(), None);
        assert_eq!(read(dir.path(), None).unwrap(), None);
        remove(dir.path());
        remove(dir.path());
        assert_eq!(read(dir.path(), Some(here.pid)).unwrap(), None);
    }

    #[test]
    fn what_others_could_have_written_is_refused_and_what_is_garbled_is_no_address() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        private_file::write(dir.path(), FILE_NAME, b"{\"pid\":1").unwrap();
        assert_eq!(read(dir.path(), Some(1)).unwrap(), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(dir.path(), Some(1)).unwrap_err().to_string().contains("chmod 600"));
    }
}
