//! The files, and what can happen to them.

use std::fs::{self, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::domain::audit::{ANCHOR_NAME, Anchor, End, FILE_NAME, Head, archive_first, read_chain};

fn call(number: usize) -> Call {
    Call {
        request_id: format!("id-{number}"),
        method: "POST".to_owned(),
        route: "/r".to_owned(),
        peer: "loopback".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

fn log(dir: &Path, limits: FileLimits) -> AuditLog {
    AuditLog::new(dir, limits, || 1000)
}

fn opened(dir: &Path) -> AuditLog {
    let log = log(dir, FileLimits::default());
    log.start().unwrap();
    log
}

async fn append(log: &AuditLog, count: usize) -> u64 {
    let mut last = 0;
    for number in 0..count {
        last = log.append(call(number)).await.unwrap();
    }
    last
}

/// Every record in order, as `bizra audit verify` reads them: what they say, and the end.
fn read(dir: &Path) -> (Vec<Event>, End, Head) {
    let anchor = Anchor::from_bytes(&fs::read(dir.join(ANCHOR_NAME)).unwrap()).unwrap();
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| archive_first(path.file_name().unwrap().to_str().unwrap()).is_some())
        .collect();
    paths.sort();
    paths.push(dir.join(FILE_NAME));
    let (mut head, mut events, mut end) = (anchor.first, Vec::new(), End::Whole);
    for path in paths {
        assert_eq!(end, End::Whole);
        let mut reader = BufReader::new(fs::File::open(path).unwrap());
        let mut visit = |record: crate::domain::audit::Record| events.push(record.event);
        end = read_chain(&mut reader, &mut head, anchor.last, &mut visit).unwrap();
    }
    assert!(head.seq >= anchor.last.seq, "the anchor is ahead");
    (events, end, head)
}

fn change(path: &Path, at: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    at(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn records_are_numbered_over_restarts_and_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    for start in 0..3 {
        let log = opened(dir.path());
        assert_eq!(append(&log, 5).await, 5 * (start + 1));
    }
    let (events, end, head) = read(dir.path());
    assert_eq!((events.len(), end, head.seq), (15, End::Whole, 15));
    for name in [FILE_NAME, ANCHOR_NAME] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_each_has_its_own_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(opened(dir.path()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let log = Arc::clone(&log);
        tasks.spawn(async move { log.append(call(number)).await.unwrap() });
    }
    let mut numbers = tasks.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<u64>>());
    assert_eq!(read(dir.path()).0.len(), 200);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_cut_is_on_record() {
    for (garbage, cut) in [
        (&b"{\"address\":\"127.0"[..], 17),
        (b"\0\0\0\0\0\0\0\0", 8),
        (b"garbage\nand more\n", 17),
        (b"{}\n", 3),
    ] {
        let dir = tempfile::tempdir().unwrap();
        append(&opened(dir.path()), 3).await;
        change(&dir.path().join(FILE_NAME), |bytes| bytes.extend_from_slice(garbage));
        assert_eq!(append(&opened(dir.path()), 1).await, 5);
        let (events, end, _) = read(dir.path());
        assert_eq!((events.len(), end), (5, End::Whole));
        assert_eq!(events[3], Event::Cut { bytes: cut });
    }
}

#[tokio::test]
async fn a_record_that_was_written_and_not_yet_anchored_stays() {
    let dir = tempfile::tempdir().unwrap();
    let log = opened(dir.path());
    append(&log, 2).await;
    let anchor = fs::read(dir.path().join(ANCHOR_NAME)).unwrap();
    append(&log, 1).await;
    drop(log);
    // As after a power cut, which may take the anchor's last writes.
    fs::write(dir.path().join(ANCHOR_NAME), anchor).unwrap();
    assert_eq!(append(&opened(dir.path()), 1).await, 4);
}

#[tokio::test]
async fn whoever_damages_what_was_acknowledged_stops_the_record() {
    type Attack = fn(&Path);
    let attacks: [(&str, Attack); 6] = [
        ("changed", |dir| change(&dir.join(FILE_NAME), |bytes| bytes[12] ^= 1)),
        ("cut", |dir| change(&dir.join(FILE_NAME), |bytes| bytes.truncate(bytes.len() - 9))),
        ("emptied", |dir| change(&dir.join(FILE_NAME), Vec::clear)),
        ("removed", |dir| fs::remove_file(dir.join(FILE_NAME)).unwrap()),
        ("unanchored", |dir| fs::remove_file(dir.join(ANCHOR_NAME)).unwrap()),
        ("anchor changed", |dir| change(&dir.join(ANCHOR_NAME), |bytes| bytes[3] ^= 1)),
    ];
    for (attack, carry_out) in attacks {
        let dir = tempfile::tempdir().unwrap();
        append(&opened(dir.path()), 3).await;
        carry_out(dir.path());
        let before = fs::read(dir.path().join(FILE_NAME)).unwrap_or_default();
        let error = log(dir.path(), FileLimits::default()).start().unwrap_err().to_string();
        assert!(error.contains("audit."), "{attack}: {error}");
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap_or_default(), before, "{attack}");
    }
}

#[tokio::test]
async fn while_the_file_is_gone_nothing_is_recorded_and_then_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = opened(dir.path());
    append(&log, 2).await;
    let (path, aside) = (dir.path().join(FILE_NAME), dir.path().join("aside"));
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(log.append(call(1)).await.is_err(), "what is written to no name is lost");
    assert!(matches!(log.append(call(1)).await, Err(AuditError::Broken(_))));
    tokio::time::sleep(RETRY_PAUSE + Duration::from_millis(50)).await;
    assert!(log.append(call(1)).await.is_err());
    fs::write(&aside, &kept).unwrap();
    fs::rename(&aside, &path).unwrap();
    tokio::time::sleep(RETRY_PAUSE + Duration::from_millis(50)).await;
    assert_eq!(log.append(call(9)).await.unwrap(), 3);
    assert!(!log.has_ended());
}

#[tokio::test]
async fn what_somebody_else_wrote_to_the_file_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let log = opened(dir.path());
    append(&log, 2).await;
    let mut file = OpenOptions::new().append(true).open(dir.path().join(FILE_NAME)).unwrap();
    io::Write::write_all(&mut file, b"forged\n").unwrap();
    assert!(log.append(call(1)).await.is_err());
    tokio::time::sleep(RETRY_PAUSE + Duration::from_millis(50)).await;
    assert_eq!(log.append(call(2)).await.unwrap(), 4);
    let (events, ..) = read(dir.path());
    assert_eq!(events[2], Event::Cut { bytes: 7 });
}

#[tokio::test]
async fn a_full_file_is_put_aside_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let limits = FileLimits { file_bytes_max: 2000, archives_max: 3 };
    let small = log(dir.path(), limits);
    small.start().unwrap();
    let last = append(&small, 40).await;
    drop(small);
    let (events, end, head) = read(dir.path());
    assert_eq!((end, head.seq), (End::Whole, last));
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
    let sizes: Vec<u64> = files.map(|entry| entry.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3 + 2, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 2000), "{sizes:?}");
    assert!(events.len() < 40, "the oldest are not kept");
    // Also when the crash came before the fresh file was made.
    fs::rename(dir.path().join(FILE_NAME), dir.path().join("audit-00000000000000000041.log")).ok();
    let current = fs::read(dir.path().join("audit-00000000000000000041.log")).unwrap();
    let first = current.split(|byte| *byte == b'\n').next().unwrap();
    let first_seq = crate::domain::audit::Record::parse(first).unwrap().seq;
    let aside = dir.path().join(crate::domain::audit::archive_name(first_seq));
    fs::rename(dir.path().join("audit-00000000000000000041.log"), aside).unwrap();
    let again = log(dir.path(), limits);
    again.start().unwrap();
    assert_eq!(append(&again, 1).await, last + 1);
    drop(again);
    assert_eq!(read(dir.path()).1, End::Whole);
}

#[tokio::test]
async fn a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join(FILE_NAME)).unwrap();
    assert!(log(dir.path(), FileLimits::default()).start().is_err());
    assert!(!dir.path().join("elsewhere").exists());
}

#[tokio::test]
async fn a_writer_is_started_once_and_again_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = opened(dir.path());
    log.start().unwrap();
    assert_eq!(append(&log, 1).await, 1);
    log.close();
    assert!(log.has_ended());
    assert!(matches!(log.append(call(1)).await, Err(AuditError::Ended)));
    log.start().unwrap();
    assert_eq!(append(&log, 1).await, 2);
}
