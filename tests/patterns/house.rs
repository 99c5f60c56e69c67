//! A pattern memory with everything that it needs.

use std::sync::Arc;
use std::time::Duration;

use bizra_omega::actors::consensus::{self, Consensus};
use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::actors::identity::{self, Identity};
use bizra_omega::actors::pattern_memory::{self, Keeper, Parts, PatternMemory};
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::embedding::ngram::NgramEmbedder;
use bizra_omega::domain::federation::Bounds as ProposalBounds;
use bizra_omega::domain::pattern::feedback::Opinion;
use bizra_omega::domain::pattern::ledger::Learned;
use bizra_omega::domain::pattern::view::{Figures, Filter, Near, Query};
use bizra_omega::domain::pattern::{
    Bounds, Lesson, Page, PatternError, PatternId, Remembered, Source, Tags,
};
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, CallError, Reply};
use bizra_omega::messages::consensus::ConsensusMsg;
use bizra_omega::messages::pattern_memory::{
    Changed, Elevated, MemoryError, PatternMemoryMsg, Recalled,
};
use bizra_omega::supervisor::{ChildSpec, Root, Settings};

use crate::support::{SECOND, permanent, root, settings, soon};

pub(crate) const NOW_MS: i64 = 1_767_225_600_123;

/// What a house is built on, which outlives its actors.
pub(crate) struct Floor {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) bounds: Bounds,
    pub(crate) now_ms: fn() -> i64,
    pub(crate) free_bytes_min: u64,
    #[cfg(feature = "usearch")]
    pub(crate) above: Option<u64>,
}

#[cfg(feature = "usearch")]
impl Floor {
    /// With an approximate index above so many patterns.
    pub(crate) fn approximate_above(&mut self, above: u64) {
        self.above = Some(above);
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            bounds: Bounds::default(),
            now_ms: || NOW_MS,
            free_bytes_min: 0,
            #[cfg(feature = "usearch")]
            above: None,
        }
    }
}

pub(crate) struct House {
    pub(crate) root: Root,
    pub(crate) settings: Settings,
    pub(crate) memory: Addr<PatternMemoryMsg>,
    pub(crate) consensus: Addr<ConsensusMsg>,
    pub(crate) store: Arc<Store>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) async fn house(floor: Floor) -> House {
    #[cfg(feature = "usearch")]
    let above = floor.above;
    let Floor { dir, bounds, now_ms, free_bytes_min, .. } = floor;
    let mut settings = settings(Strategy::OneForOne);
    // Killed all the time, it would be down most of the time.
    settings.rules.backoff.longest = Duration::from_millis(50);
    let metrics = &settings.metrics;
    let keystore = Arc::new(Keystore::new(dir.path()));
    let make = move || Identity { keystore: Arc::clone(&keystore) };
    let (identity_child, identity) =
        ChildSpec::actor(identity::NAME, permanent(), SECOND, 256, metrics, make);
    let store = Arc::new(Store::open(dir.path(), free_bytes_min).unwrap());
    let judge = GateChain::new(Constitution::default(), None, Arc::clone(&store), metrics).unwrap();
    let (gates_child, gates) =
        ChildSpec::actor(gate_chain::NAME, permanent(), SECOND, 256, metrics, move || {
            judge.clone()
        });
    let events = settings.events.clone();
    let decider = Consensus {
        identity: identity.clone(),
        gates,
        store: Arc::clone(&store),
        seat: Arc::default(),
        bounds: ProposalBounds::default(),
        now_ms,
        events: events.clone(),
        meter: metrics.federation(),
    };
    let (consensus_child, consensus) =
        ChildSpec::actor(consensus::NAME, permanent(), SECOND, 64, metrics, move || {
            decider.clone()
        });
    let keeper = Keeper::new(Parts {
        store: Arc::clone(&store),
        embedder: Arc::new(NgramEmbedder::default()),
        bounds,
        computing_max: 2,
        now_ms,
        events,
        meter: metrics.patterns(),
    });
    #[cfg(feature = "usearch")]
    let keeper = match above {
        Some(above) => keeper.approximate(pattern_memory::Approximate {
            above,
            dir: dir.path().join("graphs"),
            free_bytes_min,
            searches_max: 2,
        }),
        None => keeper,
    };
    let keeper = Arc::new(keeper);
    let memory = PatternMemory { keeper, identity, consensus: consensus.clone(), now_ms };
    let (memory_child, memory) =
        ChildSpec::actor(pattern_memory::NAME, permanent(), SECOND, 256, metrics, move || {
            memory.clone()
        });
    let children = vec![identity_child, gates_child, consensus_child, memory_child];
    let root = root(&settings, children).await;
    House { root, settings, memory, consensus, store, dir }
}

/// A lesson of this text.
pub(crate) fn lesson(content: &str, tags: &[&str], source: &str) -> Lesson {
    let tags = Tags::new(tags.iter().map(|&tag| tag.to_owned()).collect()).unwrap();
    Lesson::new(content, tags, Source::new(source).unwrap(), None).unwrap()
}

/// A text that is like no other of another number.
pub(crate) fn text(number: u64) -> String {
    let mut random = crate::random::Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let word = |random: &mut crate::random::Random| -> String {
        let letter = |random: &mut crate::random::Random| {
            char::from(b'a' + u8::try_from(random.below(26)).unwrap())
        };
        (0..8).map(|_| letter(random)).collect()
    };
    (0..6).map(|_| word(&mut random)).collect::<Vec<_>>().join(" ")
}

impl House {
    pub(crate) async fn ask<T: Send>(
        &self,
        ask: impl Fn(Reply<T>) -> PatternMemoryMsg + Send,
    ) -> Result<T, CallError> {
        self.memory.call(soon(), ask).await
    }

    pub(crate) async fn learn(
        &self,
        lessons: Vec<Lesson>,
    ) -> Result<Vec<Result<Learned, PatternError>>, MemoryError> {
        let ask = |reply| PatternMemoryMsg::Learn { lessons: lessons.clone(), reply };
        self.ask(ask).await.unwrap()
    }

    pub(crate) async fn learned(&self, lesson: Lesson) -> Learned {
        self.learn(vec![lesson]).await.unwrap().pop().unwrap().unwrap()
    }

    pub(crate) async fn recall(&self, query: Query) -> Vec<Recalled> {
        let query = Box::new(query);
        self.ask(|reply| PatternMemoryMsg::Recall { query: query.clone(), reply })
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn near(&self, text: &str, filter: Filter) -> Vec<Recalled> {
        self.recall(Query::new(Near::Text(text.into()), 10, None, filter).unwrap()).await
    }

    pub(crate) async fn find(&self, id: PatternId) -> Option<Remembered> {
        self.ask(|reply| PatternMemoryMsg::Find { id, reply }).await.unwrap().unwrap()
    }

    pub(crate) async fn all(&self) -> Vec<Remembered> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = Page { limit: 100, after };
            let ask = |reply| PatternMemoryMsg::List { page, reply };
            let listed = self.ask(ask).await.unwrap().unwrap();
            let Some(last) = listed.last() else { return all };
            after = Some(last.pattern.id);
            all.extend(listed);
        }
    }

    pub(crate) async fn stats(&self) -> Figures {
        self.ask(|reply| PatternMemoryMsg::Stats { reply }).await.unwrap().unwrap()
    }

    pub(crate) async fn feedback(
        &self,
        id: PatternId,
        opinion: Opinion,
    ) -> Result<Changed, MemoryError> {
        self.ask(|reply| PatternMemoryMsg::Feedback { id, opinion, reply }).await.unwrap()
    }

    pub(crate) async fn pin(&self, id: PatternId) -> Result<Changed, MemoryError> {
        let ask = |reply| PatternMemoryMsg::Pin { id, is_pinned: true, reply };
        self.ask(ask).await.unwrap()
    }

    pub(crate) async fn forget(&self, id: PatternId) -> Result<Changed, MemoryError> {
        self.ask(|reply| PatternMemoryMsg::Forget { id, reply }).await.unwrap()
    }

    pub(crate) async fn elevate(&self, id: PatternId) -> Result<Elevated, MemoryError> {
        self.ask(|reply| PatternMemoryMsg::Elevate { id, reply }).await.unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        self.settings.metrics.encode().unwrap()
    }

    /// The directory, with nothing running on it.
    pub(crate) async fn stopped(self) -> tempfile::TempDir {
        self.root.shutdown(5 * SECOND).await;
        self.store.close();
        self.dir
    }
}
