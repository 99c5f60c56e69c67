//! Opens the keystore when the node starts.

use std::sync::Arc;

use crate::adapters::keystore::Keystore;
use crate::config;
use crate::domain::passphrase::Passphrase;
use crate::node::StartError;
use crate::passphrase_file;

/// The keystore, unlocked and read, so that what is wrong with it is told before anything runs.
pub(super) async fn open(
    config: &config::Node,
    passphrase: Option<Passphrase>,
) -> Result<Arc<Keystore>, StartError> {
    let keystore = Arc::new(Keystore::new(&config.data_dir));
    let (opened, file) = (Arc::clone(&keystore), config.passphrase_file.clone());
    let open = move || -> Result<(), StartError> {
        if opened.is_encrypted()? {
            let passphrase = match (passphrase, file) {
                (Some(passphrase), _) => Some(passphrase),
                (None, Some(file)) => Some(passphrase_file::read(&file)?),
                (None, None) => None,
            };
            passphrase.map_or(Ok(()), |passphrase| opened.unlock(&passphrase))?;
        }
        opened.load()?;
        Ok(())
    };
    let panicked = |error: tokio::task::JoinError| StartError::Actors(error.into());
    tokio::task::spawn_blocking(open).await.map_err(panicked)??;
    Ok(keystore)
}
