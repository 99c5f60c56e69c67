//! How many calls of one program an actor is asked to take at once.
//!
//! An address refuses what it has no place for, which is right for strangers. A program that holds a
//! node would rather wait its turn, so its calls wait here, in their order and until their deadline,
//! and leave half of the places to the actors that call each other.

use std::sync::Arc;

use bizra_omega::config::Config;
use bizra_omega::messages::addr::{Addr, Message};
use bizra_omega::messages::roster::Roster;
use tokio::sync::Semaphore;

/// The places, by actor.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) identity: Arc<Semaphore>,
    pub(super) gates: Arc<Semaphore>,
    pub(super) envelopes: Arc<Semaphore>,
    /// Quick questions to the router.
    pub(super) router: Arc<Semaphore>,
    /// Prompts.
    pub(super) prompts: Arc<Semaphore>,
    pub(super) gossip: Arc<Semaphore>,
    pub(super) consensus: Arc<Semaphore>,
    pub(super) preferences: Arc<Semaphore>,
    pub(super) patterns: Arc<Semaphore>,
    pub(super) supervisor: Arc<Semaphore>,
}

impl Lanes {
    pub(super) fn new(roster: &Roster, config: &Config) -> Self {
        // Prompts that wait for a backend are kept there in a queue of its own, which refuses too.
        let queue = config.inference.queue.waiting_max / 2;
        let running = config.inference.edge.parallel;
        let places = (running + queue).min(roster.inference.waiting_max() / 4).max(1);
        Self {
            identity: half(&roster.identity),
            gates: half(&roster.gate_chain),
            envelopes: half(&roster.envelope),
            router: half(&roster.inference),
            prompts: Arc::new(Semaphore::new(places)),
            gossip: half(&roster.gossip),
            consensus: half(&roster.consensus),
            preferences: half(&roster.preferences),
            patterns: half(&roster.pattern_memory),
            supervisor: half(&roster.supervisor),
        }
    }
}

fn half<M: Message>(addr: &Addr<M>) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((addr.waiting_max() / 2).max(1)))
}
