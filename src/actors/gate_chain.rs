//! Judges content under the constitution, and keeps the standing of those who sent it. The gates
//! are in `domain::gate`, the rules about standing in `domain::trust`.
//!
//! A restart loses nothing: standings, which are in the store as well, and the constitution in force
//! outlive it.

mod bench;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::actor::{Actor, Failure, Turn, in_order};
use crate::actors::gate_chain::bench::Bench;
use crate::adapters::constitution_file;
use crate::adapters::store::{Store, StoreError};
use crate::clock;
use crate::domain::constitution::Constitution;
use crate::domain::gate::{GateInput, Receipt, Surroundings};
use crate::domain::profile::{Gate, Profile};
use crate::domain::reject::RejectCode;
use crate::domain::trust::{Book, Standing};
use crate::messages::addr::{Deadline, Reply, unless_abandoned};
use crate::messages::gate_chain::{BATCH_MAX, GateChainMsg, ReloadError};
use crate::metrics::{GateMeter, Metrics};

/// Its name in the tree.
pub const NAME: &str = "gate-chain";

/// Bytes that are judged inside the handler: measuring this much takes some hundred microseconds.
const INLINE_BYTES_MAX: usize = 4 * 1024;

/// Inputs that are judged inside the handler, a fraction of a microsecond each over given scores.
const INLINE_INPUTS_MAX: usize = 64;

/// Bytes of content after which a chunk of a batch is closed, so that cores share large inputs.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a restart needs.
#[derive(Clone, Debug)]
pub struct GateChain {
    /// What is enforced; shared by all incarnations.
    constitution: Arc<ArcSwap<Constitution>>,
    /// Where it can be read again; `None` for the one built in.
    file: Option<PathBuf>,
    /// The standings of senders; shared by all incarnations.
    standings: Arc<Mutex<Book>>,
    /// Keeps them.
    store: Arc<Store>,
    /// Lets as many judge at once as there are cores; shared by all incarnations.
    workers: Arc<Semaphore>,
    meter: GateMeter,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    now_ms: fn() -> i64,
}

impl Actor for GateChain {
    type Msg = GateChainMsg;
    /// Nothing of its own: what it knows outlives it.
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: GateChainMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            GateChainMsg::Constitution { reply } => reply.send(self.constitution.load_full()),
            GateChainMsg::Check { profile, inputs, reply } => {
                self.check(profile, inputs, turn, reply);
            }
            GateChainMsg::Admit { profile, input, mut reply } => {
                let chain = self.clone();
                let deadline = turn.deadline();
                turn.spawn(async move {
                    let admit = chain.admit(profile, *input, deadline);
                    if let Some(Some(receipt)) = unless_abandoned(&mut reply, admit).await {
                        reply.send(receipt);
                    }
                });
            }
            GateChainMsg::Reload { reply } => {
                let chain = self.clone();
                turn.spawn_blocking(move || reply.send(chain.reload()));
            }
        }
        Ok(())
    }
}

impl GateChain {
    /// A gate chain that enforces `constitution`, which came from `file` if it is not built in, and
    /// keeps standings in `store`. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError`] if the standings cannot be read.
    pub fn new(
        constitution: Constitution,
        file: Option<PathBuf>,
        store: Arc<Store>,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let standings = Book::restore(store.load_standings()?);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            standings: Arc::new(Mutex::new(standings)),
            constitution: Arc::new(ArcSwap::from_pointee(constitution)),
            file,
            store,
            workers: Arc::new(Semaphore::new(cores)),
            meter: metrics.gates(&Gate::ALL.map(Gate::as_str)),
            now_ms: clock::now_ms,
        })
    }

    fn bench(&self, profile: Profile, around: Surroundings) -> Bench {
        let (constitution, meter) = (self.constitution.load_full(), self.meter.clone());
        Bench { constitution, profile, around, meter }
    }

    fn check(
        &self,
        profile: Profile,
        inputs: Vec<GateInput>,
        turn: Turn,
        mut reply: Reply<Vec<Receipt>>,
    ) {
        let bench = self.bench(profile, Surroundings::default());
        let deadline = turn.deadline();
        let bytes: usize = inputs.iter().map(|input| input.content.len()).sum();
        if inputs.len() > BATCH_MAX {
            let reason = format!("a batch has at most {BATCH_MAX} inputs");
            let refuse = |input| bench.refuse(input, RejectCode::RejectQuota, &reason);
            reply.send(inputs.into_iter().map(refuse).collect());
        } else if inputs.len() <= INLINE_INPUTS_MAX && bytes <= INLINE_BYTES_MAX {
            reply.send(bench.judge_all(inputs, deadline));
        } else {
            let workers = Arc::clone(&self.workers);
            turn.spawn(async move {
                let judging = spread(bench, inputs, deadline, workers);
                if let Some(Some(receipts)) = unless_abandoned(&mut reply, judging).await {
                    reply.send(receipts);
                }
            });
        }
    }

    /// Judges what a sender sent, and punishes it as the constitution says.
    async fn admit(
        &self,
        profile: Profile,
        input: GateInput,
        deadline: Deadline,
    ) -> Option<Receipt> {
        let now_ms = (self.now_ms)();
        let sender = input.facts.as_ref().and_then(|facts| facts.sender);
        let sender = sender.map(|key| *key.as_bytes());
        let standing = sender.map_or(Standing::FULL, |sender| self.book().standing(&sender));
        let bench = self.bench(profile, Surroundings { now_ms, standing });
        let constitution = Arc::clone(&bench.constitution);
        let judging = spread(bench, vec![input], deadline, Arc::clone(&self.workers));
        let receipt = judging.await?.pop()?;
        let wrong = receipt.verdicts().iter().filter(|verdict| verdict.code.is_some());
        let penalties: Vec<_> =
            wrong.flat_map(|verdict| constitution.penalties(profile, verdict.gate)).collect();
        if let Some(sender) = sender {
            let terms = &constitution.document().trust;
            let change = self.book().punish(&sender, &penalties, terms, now_ms);
            if let Some(change) = change
                && let Err(error) = self.store.put_standing(change).await
            {
                // It holds until the node ends, and what was refused stays refused.
                warn!(actor = NAME, %error, "a penalty was not written");
            }
        }
        Some(receipt)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // No call on it panics half way; if one did, what it remembers is still remembered.
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self) -> Result<Arc<Constitution>, ReloadError> {
        use constitution_file::ConstitutionFileError::{Document, Read};
        let path = self.file.as_ref().ok_or(ReloadError::BuiltIn)?;
        let read = constitution_file::read(path).map_err(|error| match error {
            Read { .. } => ReloadError::File(error.to_string()),
            Document(error) => ReloadError::Document(error),
        })?;
        let read = Arc::new(read);
        loop {
            let before = self.constitution.load();
            read.succeeds(&before, &path.display().to_string())?;
            let found = self.constitution.compare_and_swap(&*before, Arc::clone(&read));
            if Arc::ptr_eq(&found, &before) {
                let (version, digest) = (read.version(), read.digest());
                info!(actor = NAME, version, %digest, "the constitution was read again");
                return Ok(read);
            }
        }
    }
}

/// Judges a batch on as many cores as there are, and answers in the order of the inputs. `None` if
/// a part was lost: never a pass.
async fn spread(
    bench: Bench,
    inputs: Vec<GateInput>,
    deadline: Deadline,
    workers: Arc<Semaphore>,
) -> Option<Vec<Receipt>> {
    let mut tasks = JoinSet::new();
    for (index, chunk) in chunks(inputs).into_iter().enumerate() {
        // Dropped with this future when the caller leaves; the semaphore is never closed.
        let worker = Arc::clone(&workers).acquire_owned().await.ok()?;
        let bench = bench.clone();
        tasks.spawn_blocking(move || {
            let _worker = worker;
            (index, bench.judge_all(chunk, deadline))
        });
    }
    in_order(tasks).await
}

/// Cuts a batch into pieces of bounded work.
fn chunks(inputs: Vec<GateInput>) -> Vec<Vec<GateInput>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for input in inputs {
        bytes += input.content.len();
        if let Some(last) = chunks.last_mut() {
            last.push(input);
            if last.len() >= INLINE_INPUTS_MAX || bytes >= CHUNK_BYTES {
                chunks.push(Vec::new());
                bytes = 0;
            }
        }
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_every_input_in_order() {
        let inputs: Vec<_> = (0..500).map(|n| GateInput::text(vec![b'x'; n * 100])).collect();
        let sizes: Vec<_> = inputs.iter().map(|input| input.content.len()).collect();
        let chunks = chunks(inputs);
        assert!(chunks.len() > 100);
        let kept: Vec<_> = chunks.iter().flatten().map(|input| input.content.len()).collect();
        assert_eq!(kept, sizes);
    }
}
