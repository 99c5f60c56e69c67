//! Opening, reading, writing and turning over the files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{AuditError, FileLimits};
use crate::domain::audit::{
    ANCHOR_NAME, Anchor, End, Event, FILE_NAME, Head, LINE_BYTES_MAX, Problem, Record,
    archive_first, archive_name, read_chain,
};

/// The file that is written to, and where the chain is.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    limits: FileLimits,
    now_ms: fn() -> i64,
    file: File,
    anchor_file: File,
    anchor: Anchor,
    /// Bytes of the file that are records; more is not ours.
    bytes: u64,
    /// The number of the file's first record, or of the one that it will have.
    first_seq: u64,
}

impl Log {
    /// Opens the files or makes them. What is torn at the end is cut off, and that is recorded.
    pub(super) fn open(
        dir: &Path,
        limits: FileLimits,
        now_ms: fn() -> i64,
    ) -> Result<Self, AuditError> {
        let anchor = match read_anchor(dir)? {
            Some(anchor) => anchor,
            None if has_records(dir)? => {
                return Err(AuditError::Unanchored { path: dir.join(ANCHOR_NAME) });
            }
            None => Anchor::START,
        };
        Self::open_from(dir, limits, now_ms, anchor)
    }

    /// Opens the files again after a failure, as far as they were acknowledged.
    pub(super) fn reopen(&mut self) -> Result<(), AuditError> {
        *self = Self::open_from(&self.dir.clone(), self.limits, self.now_ms, self.anchor)?;
        Ok(())
    }

    fn open_from(
        dir: &Path,
        limits: FileLimits,
        now_ms: fn() -> i64,
        known: Anchor,
    ) -> Result<Self, AuditError> {
        let path = dir.join(FILE_NAME);
        let fail = |source| AuditError::Io { path: path.clone(), source };
        let is_new = !path.try_exists().map_err(fail)?;
        remove_old(dir, known.first.seq)?;
        let mut head = begin(dir, known)?;
        let first_seq = head.seq + 1;
        if is_new && head.seq < known.last.seq {
            return Err(AuditError::Short { path, found: head.seq, known: known.last.seq });
        }
        let file = open_private(&path, true).map_err(fail)?;
        let mut reader = BufReader::new(file.try_clone().map_err(fail)?);
        let end = read_chain(&mut reader, &mut head, known.last, &mut |_| {}).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let bytes = match end {
            End::Whole => length,
            End::Torn { at } | End::Broken { at, .. } if head.seq >= known.last.seq => at,
            End::Torn { .. } => {
                return Err(AuditError::Short { path, found: head.seq, known: known.last.seq });
            }
            End::Broken { line, problem, .. } => {
                return Err(AuditError::Damaged { path, line, problem });
            }
        };
        if head.seq < known.last.seq {
            return Err(AuditError::Short { path, found: head.seq, known: known.last.seq });
        }
        let anchor_path = dir.join(ANCHOR_NAME);
        let anchor_file = open_private(&anchor_path, false)
            .map_err(|source| AuditError::Io { path: anchor_path, source })?;
        let anchor = Anchor { first: known.first, last: head };
        let mut log = Self {
            dir: dir.to_owned(),
            limits,
            now_ms,
            file,
            anchor_file,
            anchor,
            bytes,
            first_seq,
        };
        if bytes < length {
            log.file.set_len(bytes).and_then(|()| log.file.sync_all()).map_err(fail)?;
            log.append(&[Event::Cut { bytes: length - bytes }])?;
        } else if is_new {
            log.write_anchor()?;
            log.anchor_file.sync_all().and_then(|()| log.file.sync_all()).map_err(fail)?;
            sync_dir(dir).map_err(fail)?;
        }
        log.write_anchor()?;
        Ok(log)
    }

    /// Appends these events in order, and answers with the first one's number when all are on disk.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<u64, AuditError> {
        let at_ms = (self.now_ms)();
        let first = self.anchor.last.seq + 1;
        let mut head = self.anchor.last;
        let lines: Vec<u8> = events.iter().flat_map(|event| head.append(event, at_ms)).collect();
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.limits.file_bytes_max {
            self.turn_over()?;
        }
        let path = self.dir.join(FILE_NAME);
        let fail = |source| AuditError::Io { path: path.clone(), source };
        let metadata = self.file.metadata().map_err(fail)?;
        if metadata.nlink() == 0 || metadata.len() != self.bytes {
            return Err(AuditError::Disturbed { path });
        }
        self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(fail)?;
        self.bytes += lines.len() as u64;
        self.anchor.last = head;
        self.write_anchor()?;
        Ok(first)
    }

    /// The anchor follows the records and need not be flushed with them: one that is behind is true
    /// as well.
    fn write_anchor(&self) -> Result<(), AuditError> {
        self.anchor_file
            .write_all_at(&self.anchor.to_bytes(), 0)
            .map_err(|source| AuditError::Io { path: self.dir.join(ANCHOR_NAME), source })
    }

    /// Puts the full file aside and begins a fresh one. Whichever step a crash comes after, the
    /// files still make one chain.
    fn turn_over(&mut self) -> Result<(), AuditError> {
        let path = self.dir.join(FILE_NAME);
        let fail = |source| AuditError::Io { path: path.clone(), source };
        fs::rename(&path, self.dir.join(archive_name(self.first_seq))).map_err(fail)?;
        self.file = open_private(&path, true).map_err(fail)?;
        (self.bytes, self.first_seq) = (0, self.anchor.last.seq + 1);
        sync_dir(&self.dir).map_err(fail)?;
        let archives = archives(&self.dir)?;
        let surplus = archives.len().saturating_sub(self.limits.archives_max);
        if let Some((_, oldest_kept)) = archives.get(surplus).filter(|_| surplus > 0) {
            self.anchor.first = first_record(oldest_kept)?.before();
        } else if surplus > 0 {
            self.anchor.first = self.anchor.last;
        }
        if surplus > 0 {
            self.write_anchor()?;
            self.anchor_file.sync_all().map_err(fail)?;
            remove_old(&self.dir, self.anchor.first.seq)?;
        }
        Ok(())
    }
}

/// The head before the first record of the file that is written to.
fn begin(dir: &Path, known: Anchor) -> Result<Head, AuditError> {
    let path = dir.join(FILE_NAME);
    let last = archives(dir)?.pop();
    if last.is_some() && path.try_exists().unwrap_or(true) {
        match first_record(&path) {
            Ok(record) => return Ok(record.before()),
            // Empty, torn in its first record, or damaged, which reading it will tell.
            Err(AuditError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // The chain goes on from the last full file.
    let Some((_, last)) = last else { return Ok(known.first) };
    let fail = |source| AuditError::Io { path: last.clone(), source };
    let mut head = first_record(&last)?.before();
    let mut reader = BufReader::new(File::open(&last).map_err(fail)?);
    match read_chain(&mut reader, &mut head, known.last, &mut |_| {}).map_err(fail)? {
        End::Whole => Ok(head),
        End::Torn { .. } => {
            Err(AuditError::Short { path: last, found: head.seq, known: known.last.seq })
        }
        End::Broken { line, problem, .. } => Err(AuditError::Damaged { path: last, line, problem }),
    }
}

fn first_record(path: &Path) -> Result<Record, AuditError> {
    let fail = |source| AuditError::Io { path: path.to_owned(), source };
    let mut line = Vec::new();
    let file = File::open(path).map_err(fail)?.take(LINE_BYTES_MAX as u64);
    BufReader::new(file).read_until(b'\n', &mut line).map_err(fail)?;
    let line = line.strip_suffix(b"\n").unwrap_or_default();
    Record::parse(line).map_err(|problem| AuditError::Damaged {
        path: path.to_owned(),
        line: 1,
        problem,
    })
}

/// The full files, the oldest first, with the number of their first record.
fn archives(dir: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let fail = |source| AuditError::Io { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Some(first) = entry.file_name().to_str().and_then(archive_first) {
            found.push((first, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes full files that are no longer kept.
fn remove_old(dir: &Path, first_kept: u64) -> Result<(), AuditError> {
    for (_, path) in archives(dir)?.into_iter().filter(|(first, _)| *first <= first_kept) {
        fs::remove_file(&path).map_err(|source| AuditError::Io { path, source })?;
    }
    Ok(())
}

fn has_records(dir: &Path) -> Result<bool, AuditError> {
    let path = dir.join(FILE_NAME);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > 0 => Ok(true),
        Ok(_) => Ok(!archives(dir)?.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(!archives(dir)?.is_empty()),
        Err(source) => Err(AuditError::Io { path, source }),
    }
}

fn read_anchor(dir: &Path) -> Result<Option<Anchor>, AuditError> {
    let path = dir.join(ANCHOR_NAME);
    match fs::read(&path) {
        // Made, and the crash came before it was written.
        Ok(bytes) if bytes.is_empty() => Ok(None),
        Ok(bytes) => match Anchor::from_bytes(&bytes) {
            Some(anchor) => Ok(Some(anchor)),
            None => {
                let problem = Problem::NotARecord;
                Err(AuditError::Damaged { path, line: 1, problem })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::Io { path, source }),
    }
}

/// Opens or makes a file for its owner alone (mode 0600), not through a link.
fn open_private(path: &Path, is_log: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .append(is_log)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all())
}
