//! What the thread does.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Shared;
use crate::adapters::usearch::{self, Entry, Graph, Unfit, fingerprint};
use crate::domain::bytes;
use crate::domain::digest::domain_separated_digest;
use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::index::Index;
use crate::domain::pattern::mirror::{Mirror, NearestError};
use crate::domain::pattern::view::View;

/// Time between two writings of a file: so much of what was learned has to be added again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Ends the name of a file.
const EXTENSION: &str = "graph";

/// Of the patterns above which there is an index, the share below which it is given up: one at the border
/// is not made again and again.
const KEPT_ABOVE: (u64, u64) = (3, 4);

/// An index and what is known of its file.
struct Kept {
    embedder: Arc<EmbedderId>,
    mirror: Arc<Mirror<Graph>>,
    /// Where it came from; none once it was told.
    untold: Option<&'static str>,
    began: Instant,
    is_whole: bool,
    is_saved: bool,
    saved_at: Instant,
}

pub(super) struct Worker<'s> {
    shared: &'s Shared,
    /// Its number.
    run: u64,
    kept: Vec<Kept>,
    /// Those of which none can be made: it is not tried again before the next start.
    failed: HashSet<EmbedderId>,
    epoch: u64,
}

impl<'s> Worker<'s> {
    pub(super) fn new(shared: &'s Shared, run: u64) -> Self {
        Self { shared, run, kept: Vec::new(), failed: HashSet::new(), epoch: 0 }
    }

    pub(super) fn run(mut self) {
        let mut last: Option<Arc<View>> = None;
        while self.shared.runs(self.run) {
            let (newest, epoch) = self.shared.next(self.run, SAVE_EVERY);
            if epoch != self.epoch {
                self.kept.clear();
                (self.epoch, last) = (epoch, None);
            }
            if let Some(view) = newest {
                if last.is_none() {
                    self.tidy_up(&view);
                }
                self.follow(&view);
                last = Some(view);
            }
            if let Some(view) = &last {
                self.save(view, |kept| kept.is_whole && kept.saved_at.elapsed() >= SAVE_EVERY);
            }
        }
        if let Some(view) = &last {
            self.save(view, |_| true);
        }
        self.shared.put_to_use(Vec::new(), self.epoch);
    }

    /// Removes the files of embedders of which nothing is held, and what a crash left half written.
    fn tidy_up(&self, view: &View) {
        let Ok(files) = fs::read_dir(&self.shared.rules.dir) else { return };
        let held: Vec<PathBuf> = view.indexes.iter().map(|(id, _)| self.path(id)).collect();
        for path in files.flatten().map(|file| file.path()).filter(|path| !held.contains(path)) {
            if let Err(error) = fs::remove_file(&path) {
                debug!(file = %path.display(), %error, "not an approximate index, and not removed");
            }
        }
    }

    /// Has every index follow a view; makes those that are missing and gives up those that are not needed.
    fn follow(&mut self, view: &View) {
        let (part, whole) = KEPT_ABOVE;
        let above = self.shared.rules.above;
        self.kept.retain(|kept| {
            let len = view.index(&kept.embedder).map_or(0, Index::len) as u64;
            len.saturating_mul(whole) > above.saturating_mul(part)
        });
        for (embedder, index) in &view.indexes {
            if !self.shared.runs(self.run) {
                return;
            }
            if let Err(error) = self.follow_one(embedder, index, view) {
                warn!(%embedder, %error, "there is no approximate index until the next start");
                self.failed.insert(EmbedderId::clone(embedder));
                self.kept.retain(|kept| kept.embedder != *embedder);
            }
        }
        self.put_to_use();
        self.save(view, |kept| kept.is_whole && kept.saved_at == kept.began);
    }

    fn follow_one(
        &mut self,
        embedder: &Arc<EmbedderId>,
        index: &Index,
        view: &View,
    ) -> Result<(), NearestError> {
        let mut at = self.kept.iter().position(|kept| kept.embedder == *embedder);
        if at.is_some_and(|at| self.kept[at].mirror.look(|graph, _| graph.holes() > graph.len())) {
            let kept = self.kept.swap_remove(at.take().unwrap_or_default());
            info!(%embedder, "more patterns were let go than are left in the approximate index");
            drop(kept);
            self.put_to_use();
            let graph = self.empty(index)?;
            at = Some(self.keep(embedder, Mirror::new(graph, []), "worn"));
        }
        let at = match at {
            Some(at) => at,
            None if index.len() as u64 <= self.shared.rules.above => return Ok(()),
            None if self.failed.contains(&**embedder) => return Ok(()),
            None => {
                let (mirror, origin) = self.found(embedder, index)?;
                self.keep(embedder, mirror, origin)
            }
        };
        let (epoch, run) = (self.epoch, self.run);
        let goes_on = || self.shared.runs(run) && self.shared.desk().epoch == epoch;
        let followed = self.kept[at].mirror.follow(index, &goes_on)?;
        self.kept[at].is_whole |= followed.is_whole;
        self.kept[at].is_saved &= followed.added == 0 && followed.removed == 0;
        if followed.is_whole
            && let Some(origin) = self.kept[at].untold.take()
        {
            self.put_to_use();
            let kept = &self.kept[at];
            let bytes = kept.mirror.look(|graph, _| graph.bytes());
            let (patterns, revision) = (index.len(), view.revision);
            let (added, elapsed_ms) = (followed.added, kept.began.elapsed().as_millis());
            info!(%embedder, patterns, revision, origin, added, bytes, elapsed_ms,
                "an approximate index is in use");
            self.shared.meter.index_made(origin);
        }
        Ok(())
    }

    fn empty(&self, index: &Index) -> Result<Graph, NearestError> {
        Graph::new(index.dimension(), self.shared.rules.searches_max)
    }

    fn keep(
        &mut self,
        embedder: &Arc<EmbedderId>,
        mirror: Mirror<Graph>,
        origin: &'static str,
    ) -> usize {
        let began = Instant::now();
        self.kept.push(Kept {
            embedder: Arc::clone(embedder),
            mirror: Arc::new(mirror),
            untold: Some(origin),
            began,
            is_whole: false,
            is_saved: origin == "file",
            saved_at: began,
        });
        self.kept.len() - 1
    }

    /// The index in the file, or an empty one, and where it came from.
    fn found(
        &self,
        embedder: &EmbedderId,
        index: &Index,
    ) -> Result<(Mirror<Graph>, &'static str), NearestError> {
        let path = self.path(embedder);
        let file = path.display();
        let rows: HashMap<u64, usize> =
            index.patterns().enumerate().map(|(row, pattern)| (pattern.number, row)).collect();
        let is_right = |entry: Entry| {
            let unit = rows.get(&entry.key).and_then(|row| index.unit(*row));
            unit.is_some_and(|unit| fingerprint(unit) == entry.fingerprint)
        };
        let opened = usearch::open(&path, embedder, self.shared.rules.searches_max, is_right);
        let origin = match opened {
            Ok((graph, keys, revision)) if 2 * keys.len() >= index.len() => {
                let (known, missing) = (keys.len(), index.len() - keys.len());
                debug!(%file, revision, known, missing, "an approximate index was read");
                return Ok((Mirror::new(graph, keys), "file"));
            }
            Ok((_, keys, revision)) => {
                let known = keys.len();
                info!(%file, revision, known, "the approximate index is too old and made anew");
                "stale"
            }
            Err(Unfit::Absent) => "absent",
            Err(Unfit::Foreign) => {
                info!(%file, "the approximate index is of another version and made anew");
                "foreign"
            }
            Err(Unfit::Damaged(reason)) => {
                warn!(%file, reason, "the approximate index is damaged and made anew");
                "damaged"
            }
        };
        Ok((Mirror::new(self.empty(index)?, []), origin))
    }

    fn put_to_use(&self) {
        let whole = self.kept.iter().filter(|kept| kept.is_whole);
        let in_use = whole.map(|kept| (Arc::clone(&kept.embedder), Arc::clone(&kept.mirror)));
        self.shared.put_to_use(in_use.collect(), self.epoch);
    }

    /// Writes the files of those that are due and were changed since.
    fn save(&mut self, view: &View, is_due: impl Fn(&Kept) -> bool) {
        let due: Vec<usize> = (0..self.kept.len())
            .filter(|at| !self.kept[*at].is_saved && is_due(&self.kept[*at]))
            .collect();
        for at in due {
            let began = Instant::now();
            let written = self.write(&self.kept[at], view);
            let kept = &mut self.kept[at];
            let embedder = &kept.embedder;
            kept.saved_at = Instant::now();
            match written {
                Ok(()) => {
                    kept.is_saved = true;
                    let elapsed_ms = began.elapsed().as_millis();
                    debug!(%embedder, elapsed_ms, "an approximate index was written");
                }
                Err(error) => warn!(%embedder, %error, "the approximate index was not written"),
            }
        }
    }

    fn write(&self, kept: &Kept, view: &View) -> io::Result<()> {
        let Some(index) = view.index(&kept.embedder) else { return Ok(()) };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.shared.rules.dir)?;
        let fingerprints: HashMap<u64, u64> = index
            .patterns()
            .enumerate()
            .map(|(row, pattern)| (pattern.number, index.unit(row).map_or(0, fingerprint)))
            .collect();
        kept.mirror.look(|graph, keys| {
            // One that is gone has no fingerprint, and is taken out when the file is read.
            let entry = |key| Entry {
                key,
                fingerprint: fingerprints.get(&key).copied().unwrap_or_default(),
            };
            let entries: Vec<Entry> = keys.map(entry).collect();
            let free_bytes_min = self.shared.rules.free_bytes_min;
            let path = self.path(&kept.embedder);
            usearch::save(graph, &path, &kept.embedder, view.revision, &entries, free_bytes_min)
        })
    }

    /// The file of an embedder: its name may hold anything.
    fn path(&self, embedder: &EmbedderId) -> PathBuf {
        let digest = domain_separated_digest(embedder.to_string().as_bytes());
        let name = bytes::to_hex(&digest.as_bytes()[..8]);
        self.shared.rules.dir.join(name).with_extension(EXTENSION)
    }
}
