//! A disk in memory that forgets what was not flushed, that can be made to fail, and that can be cut
//! off in the middle of its writes.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use super::super::{Floor, Store};

/// What disks write in one piece.
const SECTOR: usize = 512;

/// Images kept for each flush.
const CUTS_PER_FLUSH: u64 = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    flushed: Arc<Mutex<Vec<u8>>>,
    /// Operations until the first that fails; negative when none does.
    works_for: Arc<AtomicI64>,
    is_limited: Arc<AtomicBool>,
    keeps_cuts: Arc<AtomicBool>,
    cuts: Arc<Mutex<Vec<Vec<u8>>>>,
    chance: Arc<AtomicU64>,
    was_repaired: Arc<AtomicBool>,
    free_bytes: Arc<AtomicU64>,
}

impl Disk {
    pub(super) fn open(&self) -> Store {
        self.open_with_floor(0)
    }

    pub(super) fn open_with_floor(&self, free_bytes_min: u64) -> Store {
        let (repaired, free) = (Arc::clone(&self.was_repaired), Arc::clone(&self.free_bytes));
        let db = Database::builder()
            .set_repair_callback(move |_| repaired.store(true, Ordering::SeqCst))
            .create_with_backend(self.clone())
            .unwrap();
        let free_bytes = Box::new(move || Some(free.load(Ordering::SeqCst)));
        Store::start(db, Floor { free_bytes_min, free_bytes }).unwrap()
    }

    pub(super) fn was_repaired(&self) -> bool {
        self.was_repaired.load(Ordering::SeqCst)
    }

    pub(super) fn set_free(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::SeqCst);
    }

    /// Every operation after the next `count` fails.
    pub(super) fn fail_after(&self, count: i64) {
        self.works_for.store(count, Ordering::SeqCst);
        self.is_limited.store(true, Ordering::SeqCst);
    }

    pub(super) fn recover(&self) {
        self.is_limited.store(false, Ordering::SeqCst);
    }

    fn fail(&self) -> Result<(), std::io::Error> {
        let is_spent = || self.works_for.fetch_sub(1, Ordering::SeqCst) <= 0;
        if self.is_limited.load(Ordering::SeqCst) && is_spent() {
            return Err(std::io::Error::other("no space left on device"));
        }
        Ok(())
    }

    fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.written.lock().unwrap().clone_from(&bytes);
        *disk.flushed.lock().unwrap() = bytes;
        disk
    }

    /// What is there after a power cut.
    pub(super) fn after_power_cut(&self) -> Self {
        Self::holding(self.flushed.lock().unwrap().clone())
    }

    pub(super) fn record_cuts(&self, keeps: bool) {
        self.keeps_cuts.store(keeps, Ordering::SeqCst);
    }

    /// Disks as they might be found if the power had gone just before a flush was done.
    pub(super) fn take_cuts(&self) -> Vec<Self> {
        std::mem::take(&mut *self.cuts.lock().unwrap()).into_iter().map(Self::holding).collect()
    }

    /// Any sector that was written since the last flush is on disk, or is not.
    fn keep_cuts(&self, written: &[u8], flushed: &[u8]) {
        for _ in 0..CUTS_PER_FLUSH {
            let mut image = flushed.to_vec();
            image.resize(written.len(), 0);
            for (new, old) in written.chunks(SECTOR).zip(image.chunks_mut(SECTOR)) {
                if new != old && self.flip() {
                    old.copy_from_slice(new);
                }
            }
            self.cuts.lock().unwrap().push(image);
        }
    }

    /// The same choices in every run (SplitMix64).
    fn flip(&self) -> bool {
        let seed = self.chance.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 33) & 1 == 1
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
        let (written, mut flushed) = (self.written.lock().unwrap(), self.flushed.lock().unwrap());
        if self.keeps_cuts.load(Ordering::SeqCst) {
            self.keep_cuts(&written, &flushed);
        }
        flushed.clone_from(&written);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.fail()?;
        let start = offset as usize;
        self.written.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}
