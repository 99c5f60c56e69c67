//! The commands over keys: through the running node, or on its data directory while none runs.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::adapters::keystore::{FILE_BYTES_MAX, Keystore};
use crate::adapters::lock::{DirLock, LockError};
use crate::cli::bizra::{IdentityCommand, KeystoreCommand};
use crate::cli::client::{CliError, Client, Target};
use crate::cli::commands::{Say, object, open, text_or_input};
use crate::cli::target::running;
use crate::cli::{passphrase, show};
use crate::clock;
use crate::config::{Config, Source};
use crate::domain::id::NodeId;
use crate::domain::identity::IdentityInfo;
use crate::domain::json;
use crate::domain::rotation::Rotation;
use crate::private_file;

/// Bytes of a file with rotation records: more than every record of a full keystore.
const RECORDS_BYTES_MAX: u64 = 256 << 10;

/// How to name the file with the passphrase of the keystore.
const KEYSTORE_REMEDY: &str = "name a file that holds it in BIZRA_PASSPHRASE_FILE";
/// How to name the file with the passphrase of an export.
const EXPORT_REMEDY: &str = "name a file that holds it with --passphrase-file";
/// How to name the file with a new passphrase.
const NEW_REMEDY: &str = "name a file that holds it with --new-passphrase-file";

/// Carries out one of the commands.
pub(super) async fn run(
    command: IdentityCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    match command {
        IdentityCommand::Sign { message } => {
            let body = json!({ "message": text_or_input(message)? });
            let signed = target.client()?.post(&["identity", "sign"], &body).await?;
            say.answer(&signed, show::fields)
        }
        IdentityCommand::Verify { message, signature, public_key } => {
            let body = json!({
                "message": text_or_input(message)?,
                "signature": signature,
                "public_key": public_key,
            });
            let verified = target.client()?.post(&["identity", "verify"], &body).await?;
            say.verdict(&verified, "valid", show::fields)
        }
        IdentityCommand::List => {
            let listed = match place(target, false).await? {
                Place::Node(node) => node.get("identity").await?,
                Place::Directory(directory) => {
                    let all = directory.unlocked()?.read()?;
                    let all = all.iter().map(|identity| recorded(&identity.info));
                    json!({ "identities": all.collect::<Vec<_>>() })
                }
            };
            say.answer(&listed, show::identities)
        }
        IdentityCommand::Generate { label, idle } => {
            let made = match place(target, true).await? {
                Place::Node(node) => {
                    let body = object([
                        ("label", label.map(Value::from)),
                        ("activate", Some(json!(!idle))),
                    ]);
                    node.post("generate", &body).await?
                }
                Place::Directory(directory) => {
                    told(&directory.unlocked()?.generate(label, !idle)?).into()
                }
            };
            say.answer(&made, show::fields)
        }
        IdentityCommand::Activate { node_id } => {
            let activated = match place(target, true).await? {
                Place::Node(node) => {
                    node.post("activate", &json!({ "node_id": node_id.to_hex() })).await?
                }
                Place::Directory(directory) => {
                    told(&directory.unlocked()?.activate(node_id)?).into()
                }
            };
            say.answer(&activated, show::fields)
        }
        IdentityCommand::Rotate { label } => {
            let rotated = match place(target, true).await? {
                Place::Node(node) => {
                    node.post("rotate", &object([("label", label.map(Value::from))])).await?
                }
                Place::Directory(directory) => {
                    let rotated = directory.unlocked()?.rotate(label, clock::now_ms())?;
                    let mut told = told(&rotated.new);
                    told.insert("rotation".to_owned(), rotated.rotation.to_json());
                    told.into()
                }
            };
            say.answer(&rotated, show::rotated)
        }
        IdentityCommand::VerifyRotation { file } => {
            say.verdict(&verify_rotation(&file)?, "valid", show::records)
        }
        IdentityCommand::Keystore(command) => {
            say.answer(&alone(command, &Directory::of(target)?)?, show::fields)
        }
    }
}

/// What is not done through a node: whoever has its token should not take its keys with him.
fn alone(command: KeystoreCommand, directory: &Directory) -> Result<Value, CliError> {
    match command {
        KeystoreCommand::Export { node_id, out, passphrase_file } => {
            let keystore = directory.unlocked()?;
            let all = keystore.read()?;
            let active = all.first().map(|identity| identity.info.node_id);
            let id = node_id.or(active).ok_or_else(|| no_identity(directory))?;
            let file = passphrase_file.as_deref();
            let passphrase = passphrase::fresh(file, "passphrase of the export", EXPORT_REMEDY)?;
            private_file::write_new(&out, &keystore.export(id, &passphrase)?)?;
            Ok(json!({ "node_id": id.to_hex(), "file": out }))
        }
        KeystoreCommand::Import { file, label, passphrase_file } => {
            let keystore = directory.unlocked()?;
            let export = read_bounded(&file, FILE_BYTES_MAX as u64)?;
            let from = passphrase_file.as_deref();
            let passphrase = passphrase::known(from, "passphrase of the export", EXPORT_REMEDY)?;
            Ok(told(&keystore.import(&export, &passphrase, label)?).into())
        }
        KeystoreCommand::Encrypt => {
            let keystore = &directory.keystore;
            if !keystore.is_encrypted()? && keystore.read()?.is_empty() {
                return Err(no_identity(directory));
            }
            if keystore.is_encrypted()? {
                let text = "the keystore is encrypted already; `bizra identity passwd` changes its \
                            passphrase";
                return Err(CliError::Usage(text.to_owned()));
            }
            let file = directory.config.node.passphrase_file.as_deref();
            let what = "passphrase of the keystore";
            keystore.encrypt(&passphrase::fresh(file, what, KEYSTORE_REMEDY)?)?;
            Ok(json!({ "encrypted": true, "identities": keystore.read()?.len() }))
        }
        KeystoreCommand::Decrypt => {
            let keystore = directory.unlocked()?;
            keystore.decrypt()?;
            Ok(json!({ "encrypted": false, "identities": keystore.read()?.len() }))
        }
        KeystoreCommand::Passwd { new_passphrase_file } => {
            let keystore = directory.unlocked()?;
            let file = new_passphrase_file.as_deref();
            let passphrase = passphrase::fresh(file, "new passphrase", NEW_REMEDY)?;
            keystore.change_passphrase(&passphrase)?;
            Ok(json!({ "encrypted": true, "identities": keystore.read()?.len() }))
        }
    }
}

fn no_identity(directory: &Directory) -> CliError {
    let dir = directory.config.node.data_dir.display();
    CliError::Usage(format!("there is no identity in {dir}; make one: bizra identity generate"))
}

/// Where the keys are spoken to.
enum Place {
    Node(Node),
    Directory(Box<Directory>),
}

/// A running node.
struct Node {
    client: Client,
    /// Why the data directory could not be had, if it was tried.
    held: Option<LockError>,
}

impl Node {
    async fn get(self, path: &str) -> Result<Value, CliError> {
        let answer = self.client.get(&[path]).await;
        answer.map_err(|error| elsewhere(error, self.held))
    }

    async fn post(self, path: &str, body: &Value) -> Result<Value, CliError> {
        let answer = self.client.post(&["identity", path], body).await;
        answer.map_err(|error| elsewhere(error, self.held))
    }
}

/// A node has the directory, but none answers where one was looked for.
fn elsewhere(error: CliError, held: Option<LockError>) -> CliError {
    match (error, held) {
        (CliError::Unreachable { url, .. }, Some(lock)) => CliError::Elsewhere { lock, url },
        (error, _) => error,
    }
}

/// A data directory without a node.
struct Directory {
    config: Config,
    keystore: Keystore,
    /// None where there is no directory yet, and none is to be made.
    _lock: Option<DirLock>,
}

impl Directory {
    fn of(target: &Target) -> Result<Self, CliError> {
        let config = target.config()?;
        let lock = DirLock::acquire(&config.node.data_dir)?;
        Ok(Self::new(config, Some(lock)))
    }

    fn new(config: Config, lock: Option<DirLock>) -> Self {
        let keystore = Keystore::new(&config.node.data_dir);
        Self { config, keystore, _lock: lock }
    }

    fn unlocked(&self) -> Result<&Keystore, CliError> {
        passphrase::unlock(&self.keystore, self.config.node.passphrase_file.as_deref())?;
        Ok(&self.keystore)
    }
}

/// A node that was named is asked, and so is the one that has the data directory. Where none has it
/// the directory itself is used; but one that nobody named may be that of a node that runs in a
/// container, so it is looked for first.
async fn place(target: &Target, is_made: bool) -> Result<Place, CliError> {
    if target.url.is_some() {
        return Ok(Place::Node(Node { client: target.client()?, held: None }));
    }
    let (config, sources) = target.config_with_sources()?;
    let is_named = sources.of("node.data_dir") != Source::Default;
    let data_dir = &config.node.data_dir;
    let mut lock = None;
    if running(data_dir)?.is_some() {
        return Ok(Place::Node(Node { client: target.client()?, held: None }));
    }
    if data_dir.exists() {
        match DirLock::acquire(data_dir) {
            Ok(taken) => lock = Some(taken),
            Err(held @ LockError::Held { .. }) => {
                return Ok(Place::Node(Node { client: target.client()?, held: Some(held) }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !is_named {
        let client = target.client()?;
        match client.get(&["health"]).await {
            Err(CliError::Unreachable { .. }) => {}
            _ => return Ok(Place::Node(Node { client, held: None })),
        }
    }
    if lock.is_none() && is_made {
        lock = Some(DirLock::acquire(data_dir)?);
    }
    Ok(Place::Directory(Box::new(Directory::new(config, lock))))
}

/// As the node tells of an identity.
fn told(info: &IdentityInfo) -> Map<String, Value> {
    let members = [
        ("node_id", json!(info.node_id.to_hex())),
        ("public_key", json!(info.public_key.to_hex())),
        ("label", json!(info.label)),
        ("active", json!(info.is_active)),
    ];
    members.map(|(member, value)| (member.to_owned(), value)).into_iter().collect()
}

fn recorded(info: &IdentityInfo) -> Value {
    let mut told = told(info);
    let record = info.rotation.as_ref().map_or(Value::Null, |record| record.to_json());
    told.insert("rotation".to_owned(), record);
    told.into()
}

/// Checks every record in a file: one, an array of them, or the answer of `rotate` or `list`.
fn verify_rotation(file: &Path) -> Result<Value, CliError> {
    let verdict = |reason: Option<String>, records: Vec<Value>| json!({ "valid": reason.is_none(), "reason": reason, "records": records });
    let value = match json::parse(&read_bounded(file, RECORDS_BYTES_MAX)?) {
        Ok(value) => value,
        Err(error) => return Ok(verdict(Some(error.to_string()), Vec::new())),
    };
    let candidates = match &value {
        Value::Array(records) => records.iter().collect(),
        Value::Object(answer) => match (answer.get("rotation"), answer.get("identities")) {
            (Some(record), _) => vec![record],
            (None, Some(Value::Array(all))) => {
                all.iter().map(|it| &it["rotation"]).filter(|record| !record.is_null()).collect()
            }
            (None, _) => vec![&value],
        },
        _ => vec![&value],
    };
    let mut records = Vec::with_capacity(candidates.len());
    for candidate in &candidates {
        match Rotation::from_json(candidate) {
            Ok(record) => records.push(json!({
                "old_node_id": record.old().node_id().to_hex(),
                "new_node_id": record.new_key().node_id().to_hex(),
                "old_public_key": record.old().to_hex(),
                "new_public_key": record.new_key().to_hex(),
                "at": record.at(),
            })),
            Err(error) => return Ok(verdict(Some(error.to_string()), records)),
        }
    }
    let is_empty = candidates.is_empty();
    Ok(verdict(is_empty.then(|| "there is no rotation record in it".to_owned()), records))
}

fn read_bounded(file: &Path, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = open(file)?.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| CliError::Usage(format!("{}: {error}", file.display())))?;
    if bytes.len() as u64 > bytes_max {
        let text = format!("{} is larger than {bytes_max} bytes", file.display());
        return Err(CliError::Usage(text));
    }
    Ok(bytes)
}

/// Reads a node id from the command line.
pub(super) fn parse_node_id(text: &str) -> Result<NodeId, String> {
    NodeId::from_hex(text).map_err(|_| "is not 32 lower-case hex digits".to_owned())
}
