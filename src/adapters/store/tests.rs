use std::os::unix::fs::MetadataExt;

use super::*;

mod disk;
mod log;
mod patterns;
mod preferences;
mod proposals;

use disk::Disk;

const ID: EnvelopeId = EnvelopeId([1; 16]);

fn head(id: EnvelopeId) -> Head {
    Head { id, at_ms: 5, content_hash: [2; 32], constitution: [3; 32], public_key: [4; 32] }
}

fn nonce(id: u8) -> Nonce {
    Nonce { public_key: [9; 32], id: EnvelopeId([id; 16]) }
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_power_cut() {
    let disk = Disk::default();
    let store = disk.open();
    for id in 0..20 {
        let appended = store.append_envelope(head(EnvelopeId([id; 16])), vec![id; 100]).await;
        assert_eq!(appended, Ok(Appended::New));
        assert_eq!(store.record_nonce(nonce(id), [7; 32], 1000, i64::MIN).await, Ok(Recorded::New));
        // Cut off at the moment of the acknowledgement, with the first store still running.
        let after = disk.after_power_cut().open();
        assert_eq!(after.find_envelope(EnvelopeId([id; 16])), Ok(Some(vec![id; 100])));
        assert_eq!(after.load_replay(1000).unwrap().nonces.len(), usize::from(id) + 1);
        assert_eq!(
            after.record_nonce(nonce(id), [7; 32], 1000, i64::MIN).await,
            Ok(Recorded::Seen)
        );
    }
}

#[tokio::test]
async fn after_a_write_error_the_store_only_reads() {
    let disk = Disk::default();
    let store = disk.open();
    store.append_envelope(head(ID), b"one".to_vec()).await.unwrap();
    disk.fail_after(0);
    let error = store.record_nonce(nonce(1), [7; 32], 1000, 0).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::ReadOnly(reason) if reason.contains("no space")),
        "{error}"
    );
    disk.recover();
    let again = store.append_envelope(head(EnvelopeId([2; 16])), b"two".to_vec()).await;
    assert_eq!(again, Err(error));
    assert!(store.broken().is_some());
    assert_eq!(store.find_envelope(ID), Ok(Some(b"one".to_vec())));
    // What was not acknowledged is not there, and what was is, once the disk is well again.
    drop(store);
    let after = disk.after_power_cut().open();
    assert_eq!(after.record_nonce(nonce(1), [7; 32], 1000, 0).await, Ok(Recorded::New));
    assert_eq!(after.find_envelope(ID), Ok(Some(b"one".to_vec())));
}

#[tokio::test]
async fn an_id_is_logged_once() {
    let store = Disk::default().open();
    assert_eq!(store.append_envelope(head(ID), b"one".to_vec()).await, Ok(Appended::New));
    let again = store.append_envelope(head(ID), b"two".to_vec()).await;
    assert_eq!(again, Ok(Appended::Existing(b"one".to_vec())));
    assert_eq!(store.find_envelope(ID), Ok(Some(b"one".to_vec())));
    assert_eq!(store.find_envelope(EnvelopeId([2; 16])), Ok(None));
}

#[tokio::test]
async fn expired_nonces_are_removed_and_the_window_stays_closed() {
    let store = Disk::default().open();
    let empty = Replay { nonces: Vec::new(), closed_until_ms: i64::MIN };
    assert_eq!(store.load_replay(1000), Ok(empty));
    store.record_nonce(nonce(1), [7; 32], 100, i64::MIN).await.unwrap();
    store.record_nonce(nonce(2), [7; 32], 200, i64::MIN).await.unwrap();
    store.record_nonce(nonce(3), [7; 32], 300, 100).await.unwrap();
    let replay = store.load_replay(1000).unwrap();
    assert_eq!(replay.nonces, [(nonce(3), 300), (nonce(2), 200)]);
    assert_eq!(replay.closed_until_ms, 100);
    store.record_nonce(nonce(4), [7; 32], 400, 50).await.unwrap();
    assert_eq!(store.load_replay(1000).unwrap().closed_until_ms, 100, "it never opens again");
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
                store.append_envelope(head(EnvelopeId(id)), b"x".to_vec()).await.unwrap()
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
    let store = Arc::new(Store::open(dir.path(), 0).unwrap());
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append_envelope(head(ID), b"one".to_vec()).await }
    });
    tokio::task::yield_now().await;
    store.flush().await.unwrap();
    store.close();
    assert_eq!(waiting.await.unwrap(), Ok(Appended::New));
    assert_eq!(store.flush().await, Err(StoreError::Closed));
    drop(store);
    let again = Store::open(dir.path(), 0).unwrap();
    assert_eq!(again.find_envelope(ID), Ok(Some(b"one".to_vec())));
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn closing_leaves_the_file_to_another_whoever_holds_or_reads_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), 0).unwrap());
    store.append_envelope(head(ID), b"one".to_vec()).await.unwrap();
    let (closed, reading) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let reader = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            store.read(|read| {
                reading.0.send(()).unwrap();
                closed.1.recv().unwrap();
                super::log::find(read, ID)
            })
        }
    });
    reading.1.recv().unwrap();
    assert!(matches!(Store::open(dir.path(), 0), Err(StoreError::Open { .. })));
    store.close();
    let again = Store::open(dir.path(), 0).unwrap();
    again.append_envelope(head(EnvelopeId([2; 16])), b"two".to_vec()).await.unwrap();
    closed.0.send(()).unwrap();
    assert_eq!(reader.join().unwrap(), Err(StoreError::Closed));
    assert_eq!(store.find_envelope(ID), Err(StoreError::Closed));
    assert_eq!(store.load_standings(), Err(StoreError::Closed));
    assert_eq!(again.find_envelope(ID), Ok(Some(b"one".to_vec())));
}

#[test]
fn a_file_that_is_no_store_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "not a database at all").unwrap();
    let error = Store::open(dir.path(), 0).unwrap_err();
    assert!(error.to_string().contains("node.redb"), "{error}");
    let store = tempfile::tempdir().unwrap();
    let first = Store::open(store.path(), 0).unwrap();
    assert!(matches!(Store::open(store.path(), 0), Err(StoreError::Open { .. })), "opened twice");
    drop(first);
}

#[tokio::test]
async fn what_is_acknowledged_survives_writes_that_were_torn() {
    let disk = Disk::default();
    let store = disk.open();
    let mut cuts = 0;
    for id in 0..12 {
        store.append_envelope(head(EnvelopeId([id; 16])), vec![id; 3000]).await.unwrap();
        store.record_nonce(nonce(id), [7; 32], 1000, i64::MIN).await.unwrap();
        let next = EnvelopeId([100 + id; 16]);
        disk.record_cuts(true);
        store.append_envelope(head(next), vec![id; 3000]).await.unwrap();
        disk.record_cuts(false);
        // Cut off in the middle of the third operation, with any part of its sectors on disk.
        for cut in disk.take_cuts() {
            let after = cut.open();
            assert!(!cut.was_repaired(), "the whole file was walked through");
            for earlier in 0..=id {
                let found = after.find_envelope(EnvelopeId([earlier; 16]));
                assert_eq!(found, Ok(Some(vec![earlier; 3000])), "{id}");
            }
            assert_eq!(after.load_replay(1000).unwrap().nonces.len(), usize::from(id) + 1);
            let found = after.find_envelope(next).unwrap();
            assert!(found.is_none_or(|found| found == vec![id; 3000]), "half of it is there");
            cuts += 1;
        }
    }
    assert!(cuts >= 12 * 8, "{cuts}");
}

#[tokio::test]
async fn wherever_a_write_fails_nothing_that_was_acknowledged_is_lost() {
    for failing in 0..200 {
        let disk = Disk::default();
        let store = disk.open();
        store.append_envelope(head(ID), b"one".to_vec()).await.unwrap();
        disk.fail_after(failing);
        let second = store.record_nonce(nonce(1), [7; 32], 1000, i64::MIN).await;
        let third = store.append_envelope(head(EnvelopeId([3; 16])), b"three".to_vec()).await;
        if third.is_ok() {
            assert!(failing > 5, "{failing} writes were enough for two transactions");
            return;
        }
        assert!(second.is_ok() || store.broken().is_some(), "{failing}");
        disk.recover();
        drop(store);
        let after = disk.after_power_cut().open();
        assert_eq!(after.find_envelope(ID), Ok(Some(b"one".to_vec())), "{failing}");
        if second.is_ok() {
            let again = after.record_nonce(nonce(1), [7; 32], 1000, i64::MIN).await;
            assert_eq!(again, Ok(Recorded::Seen), "{failing}");
        }
    }
    panic!("a transaction does not take hundreds of writes");
}

#[tokio::test]
async fn a_window_over_the_limit_is_cut_and_closed_for_what_was_cut() {
    let store = Disk::default().open();
    for id in 1..=6 {
        store.record_nonce(nonce(id), [7; 32], 100 * i64::from(id), i64::MIN).await.unwrap();
    }
    let all = store.load_replay(6).unwrap();
    assert_eq!((all.nonces.len(), all.closed_until_ms), (6, i64::MIN));
    let cut = store.load_replay(4).unwrap();
    assert_eq!(cut.nonces.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [600, 500, 400, 300]);
    assert_eq!(cut.closed_until_ms, 200, "what is not remembered is refused");
    // What has expired is not loaded, also before it is removed.
    store.record_nonce(nonce(7), [7; 32], 700, 650).await.unwrap();
    assert_eq!(store.load_replay(4).unwrap().nonces, [(nonce(7), 700)]);
}

#[tokio::test]
async fn what_was_consumed_is_known_by_its_content_until_it_expires() {
    let store = Disk::default().open();
    let id = nonce(1).id;
    assert_eq!(store.is_consumed(id, &[7; 32]), Ok(false));
    store.record_nonce(nonce(1), [7; 32], 100, i64::MIN).await.unwrap();
    // Another sender may use the same id; neither hides the other.
    let other = Nonce { public_key: [1; 32], id };
    store.record_nonce(other, [8; 32], 200, i64::MIN).await.unwrap();
    assert_eq!(store.is_consumed(id, &[7; 32]), Ok(true));
    assert_eq!(store.is_consumed(id, &[8; 32]), Ok(true));
    assert_eq!(store.is_consumed(id, &[9; 32]), Ok(false));
    assert_eq!(store.is_consumed(EnvelopeId([2; 16]), &[7; 32]), Ok(false));
    store.record_nonce(nonce(3), [7; 32], 300, 100).await.unwrap();
    assert_eq!(store.is_consumed(id, &[7; 32]), Ok(false), "it has expired");
    assert_eq!(store.is_consumed(id, &[8; 32]), Ok(true));
}
