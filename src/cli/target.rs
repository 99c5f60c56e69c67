//! How the commands find a node, and what they trust it with.
//!
//! One that was named (`--url`) is spoken to there. Otherwise the data directory tells: whoever holds
//! its lock wrote there where it listens and which certificate it shows. Where nobody holds it, a node
//! is looked for where the configuration says, and is not told the token: any program of this machine
//! could listen there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Url;
use zeroize::Zeroizing;

use crate::adapters::lock::{self, Holder};
use crate::address_file::{self, Reached};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::trust::Trust;
use crate::config::{Config, Flags, Sources};
use crate::token_file::{self, TokenError};

/// How a node is found.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `--url`
    pub url: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--token`
    pub token: Option<String>,
    /// `--ca`
    pub ca: Option<PathBuf>,
}

/// Where a node is, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    url: Url,
    trust: Trust,
    /// The data directory whose token it is not told, since it is not known to be its node.
    stranger_to: Option<PathBuf>,
}

/// Why the token that there is was not taken.
#[derive(Clone, Debug)]
pub(super) enum Withheld {
    /// It cannot be read, or others could have.
    Unusable(Arc<TokenError>),
    /// It may be that of another node.
    Stranger(PathBuf),
}

impl Target {
    /// The configuration that the node itself would read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(self.config_with_sources()?.0)
    }

    /// The same, and who set what.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn config_with_sources(&self) -> Result<(Config, Sources), CliError> {
        let flags = Flags { data_dir: self.data_dir.clone(), ..Flags::default() };
        Ok(Config::load_with_sources(None, super::args::environment(), &flags)?)
    }

    /// The token: as given, or as the node wrote it down.
    ///
    /// # Errors
    /// When none was given and none can be read that only its owner knows.
    pub fn token(&self) -> Result<String, CliError> {
        match &self.token {
            Some(token) => Ok(token.clone()),
            None => Ok(read_token(&self.config()?.node.data_dir)?.to_string()),
        }
    }

    /// A client for it. A token is sent if there is one: most endpoints need none from loopback.
    ///
    /// # Errors
    /// When the URL is not one, the configuration cannot be read, or no certificate can be trusted.
    pub fn client(&self) -> Result<Client, CliError> {
        let place = self.place()?;
        let (token, withheld) = match (&self.token, place.stranger_to) {
            (Some(token), _) => (Some(token.clone()), None),
            (None, Some(dir)) => {
                let is_there = dir.join(token_file::FILE_NAME).exists();
                (None, is_there.then_some(Withheld::Stranger(dir)))
            }
            (None, None) => match self.token() {
                Ok(token) => (Some(token), None),
                Err(CliError::Token(error)) => (None, Some(Withheld::Unusable(error))),
                Err(CliError::NoToken(_) | CliError::Config(_)) => (None, None),
                Err(error) => return Err(error),
            },
        };
        Client::new(place.url, &place.trust, token, withheld)
    }

    fn place(&self) -> Result<Place, CliError> {
        let named = || self.ca.clone().map_or(Trust::System, Trust::File);
        if let Some(url) = &self.url {
            return Ok(Place { url: parse(url)?, trust: named(), stranger_to: None });
        }
        let config = self.config()?;
        let (http, data_dir) = (config.http, config.node.data_dir);
        // Where the directory is not ours to read, there is still the configuration.
        if let Ok(Some(reached)) = running(&data_dir) {
            let trust = reached.certificate.map_or_else(named, Trust::Exactly);
            return Ok(Place { url: parse(&reached.url)?, trust, stranger_to: None });
        }
        let url = address_file::url(SocketAddr::new(http.host, http.port), http.tls_cert.is_some());
        // The file of the configuration, where there is one, holds the node's own certificate.
        let trust = match (&self.ca, http.tls_cert) {
            (None, Some(file)) => Trust::File(file),
            _ => named(),
        };
        Ok(Place { url: parse(&url)?, trust, stranger_to: Some(data_dir) })
    }
}

/// What the node that runs on the directory says about itself, if there is one and it says so.
///
/// # Errors
/// When it cannot be told whether there is one, or others could have written what it says.
pub(super) fn running(data_dir: &Path) -> Result<Option<Reached>, CliError> {
    match lock::holder(data_dir)? {
        Holder::None => Ok(None),
        Holder::Process(pid) => Ok(address_file::read(data_dir, pid)?),
    }
}

fn parse(text: &str) -> Result<Url, CliError> {
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => {
            let form = "http://host:port or https://host:port";
            Err(CliError::Usage(format!("--url {text:?} is not of the form {form}")))
        }
    }
}

fn read_token(data_dir: &Path) -> Result<Zeroizing<String>, CliError> {
    token_file::read(data_dir).map_err(|error| match error.is_absent() {
        true => CliError::NoToken(error),
        false => CliError::Token(Arc::new(error)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_with_2() {
        let target = |url: &str| Target { url: Some(url.to_owned()), ..Target::default() };
        for url in ["", "localhost:3001", "ftp://localhost", "/path", "http://"] {
            let error = target(url).client().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{url}");
            assert!(error.to_string().contains(url), "{error}");
        }
        assert!(target("http://localhost:3001/prefix/").client().is_ok());
    }

    #[test]
    fn the_token_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let write_token = |text: &str| {
            let path = dir.path().join(token_file::FILE_NAME);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        };
        assert!(matches!(read_token(dir.path()), Err(CliError::NoToken(_))));
        write_token("\n");
        assert!(matches!(read_token(dir.path()), Err(CliError::Token(_))));
        let token = "A".repeat(43);
        write_token(&format!("{token}\n"));
        assert_eq!(*read_token(dir.path()).unwrap(), token);
    }

    #[test]
    fn what_nobody_holds_the_lock_for_is_no_running_node() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(running(&dir.path().join("absent")).unwrap(), None);
        let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let told = address_file::Told::of(dir.path(), address);
        told.tell(None);
        assert_eq!(running(dir.path()).unwrap(), None, "a node that is gone left it");
        let _lock = lock::DirLock::acquire(dir.path()).unwrap();
        assert_eq!(running(dir.path()).unwrap(), Some(Reached::here(address, None)));
    }
}
