use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::*;

const ID: EnvelopeId = EnvelopeId([1; 16]);

fn nonce(id: u8) -> Nonce {
    Nonce { public_key: [9; 32], id: EnvelopeId([id; 16]) }
}

/// A disk that forgets what was not flushed, and that can be made to fail.
#[derive(Clone, Debug, Default)]
struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    flushed: Arc<Mutex<Vec<u8>>>,
    is_failing: Arc<AtomicBool>,
}

impl Disk {
    fn fail(&self) -> Result<(), std::io::Error> {
        if self.is_failing.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("no space left on device"));
        }
        Ok(())
    }

    /// What is there after a power cut.
    fn after_power_cut(&self) -> Self {
        let flushed = self.flushed.lock().unwrap().clone();
        Self {
            written: Arc::new(Mutex::new(flushed.clone())),
            flushed: Arc::new(Mutex::new(flushed)),
            is_failing: Arc::default(),
        }
    }

    fn open(&self) -> Store {
        let db = Database::builder().create_with_backend(self.clone()).unwrap();
        Store::start(db).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.written.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let start = offset as usize;
        out.copy_from_slice(&self.written.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.fail()?;
        self.written.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.fail()?;
        self.flushed.lock().unwrap().clone_from(&self.written.lock().unwrap());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.fail()?;
        let start = offset as usize;
        self.written.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_power_cut() {
    let disk = Disk::default();
    let store = disk.open();
    for id in 0..20 {
        let appended = store.append_envelope(EnvelopeId([id; 16]), vec![id; 100]).await;
        assert_eq!(appended, Ok(Appended::New));
        assert_eq!(store.record_nonce(nonce(id), 1000, i64::MIN).await, Ok(Recorded::New));
        // Cut off at the moment of the acknowledgement, with the first store still running.
        let after = disk.after_power_cut().open();
        assert_eq!(after.find_envelope(EnvelopeId([id; 16])), Ok(Some(vec![id; 100])));
        assert_eq!(after.load_replay().unwrap().nonces.len(), usize::from(id) + 1);
        assert_eq!(after.record_nonce(nonce(id), 1000, i64::MIN).await, Ok(Recorded::Seen));
    }
}

#[tokio::test]
async fn after_a_write_error_the_store_only_reads() {
    let disk = Disk::default();
    let store = disk.open();
    store.append_envelope(ID, b"one".to_vec()).await.unwrap();
    disk.is_failing.store(true, Ordering::SeqCst);
    let error = store.record_nonce(nonce(1), 1000, 0).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::ReadOnly(reason) if reason.contains("no space")),
        "{error}"
    );
    disk.is_failing.store(false, Ordering::SeqCst);
    let again = store.append_envelope(EnvelopeId([2; 16]), b"two".to_vec()).await;
    assert_eq!(again, Err(error));
    assert!(store.broken().is_some());
    assert_eq!(store.find_envelope(ID), Ok(Some(b"one".to_vec())));
    // What was not acknowledged is not there, and what was is, once the disk is well again.
    drop(store);
    let after = disk.after_power_cut().open();
    assert_eq!(after.record_nonce(nonce(1), 1000, 0).await, Ok(Recorded::New));
    assert_eq!(after.find_envelope(ID), Ok(Some(b"one".to_vec())));
}

#[tokio::test]
async fn an_id_is_logged_once() {
    let store = Disk::default().open();
    assert_eq!(store.append_envelope(ID, b"one".to_vec()).await, Ok(Appended::New));
    let again = store.append_envelope(ID, b"two".to_vec()).await;
    assert_eq!(again, Ok(Appended::Existing(b"one".to_vec())));
    assert_eq!(store.find_envelope(ID), Ok(Some(b"one".to_vec())));
    assert_eq!(store.find_envelope(EnvelopeId([2; 16])), Ok(None));
}

#[tokio::test]
async fn expired_nonces_are_removed_and_the_window_stays_closed() {
    let store = Disk::default().open();
    let empty = Replay { nonces: Vec::new(), closed_until_ms: i64::MIN };
    assert_eq!(store.load_replay(), Ok(empty));
    store.record_nonce(nonce(1), 100, i64::MIN).await.unwrap();
    store.record_nonce(nonce(2), 200, i64::MIN).await.unwrap();
    store.record_nonce(nonce(3), 300, 100).await.unwrap();
    let replay = store.load_replay().unwrap();
    assert_eq!(replay.nonces, [(nonce(2), 200), (nonce(3), 300)]);
    assert_eq!(replay.closed_until_ms, 100);
    store.record_nonce(nonce(4), 400, 50).await.unwrap();
    assert_eq!(store.load_replay().unwrap().closed_until_ms, 100, "it never opens again");
}

#[tokio::test]
async fn many_at_once_share_transactions_and_each_is_answered() {
    let store = Arc::new(Disk::default().open());
    let tasks: Vec<_> = (0..600_u32)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                // Every id twice.
                let mut id = [0; 16];
                id[..4].copy_from_slice(&(number / 2).to_le_bytes());
                store.append_envelope(EnvelopeId(id), b"x".to_vec()).await.unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += usize::from(task.await.unwrap() == Appended::New);
    }
    assert_eq!(new, 300);
}

#[tokio::test]
async fn closing_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append_envelope(ID, b"one".to_vec()).await }
    });
    tokio::task::yield_now().await;
    store.flush().await.unwrap();
    store.close();
    assert_eq!(waiting.await.unwrap(), Ok(Appended::New));
    assert_eq!(store.flush().await, Err(StoreError::Closed));
    drop(store);
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(again.find_envelope(ID), Ok(Some(b"one".to_vec())));
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_store_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "not a database at all").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("node.redb"), "{error}");
    let store = tempfile::tempdir().unwrap();
    let first = Store::open(store.path()).unwrap();
    assert!(matches!(Store::open(store.path()), Err(StoreError::Open { .. })), "opened twice");
    drop(first);
}
