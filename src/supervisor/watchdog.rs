//! Finds handlers that compute without end. A heartbeat cannot: it runs on the very threads that
//! such handlers hold, and a kill takes effect only where a handler waits. So one thread of the
//! operating system looks at the actors of every node in the process, and says which does not move.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::actor::Pulse;
use crate::messages::addr::ActorName;
use crate::metrics::Metrics;

/// Time between looks. A handler that is the same at three looks has run for a second at least,
/// and is told of within two.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Looks at which a handler was the same, after which it is told of.
const SAME_MAX: u32 = 2;

/// Incarnations told of and not yet taken over by the thread. It takes them twice a second.
const PENDING_MAX: usize = 4096;

struct Watched {
    name: ActorName,
    metrics: Metrics,
    pulse: Weak<Pulse>,
    /// The handler seen last, as the number of those before it, and for how many looks.
    seen: Option<(u64, u32)>,
}

/// Watches an incarnation until it is dropped.
pub(super) fn watch(name: &ActorName, metrics: &Metrics, pulse: &Arc<Pulse>) {
    static THREAD: OnceLock<Option<SyncSender<Watched>>> = OnceLock::new();
    let Some(sender) = THREAD.get_or_init(start) else { return };
    let watched = Watched {
        name: name.clone(),
        metrics: metrics.clone(),
        pulse: Arc::downgrade(pulse),
        seen: None,
    };
    if sender.try_send(watched).is_err() {
        warn!(actor = name.as_str(), "not watched for endless handlers: too many restarts at once");
    }
}

fn start() -> Option<SyncSender<Watched>> {
    let (sender, receiver) = sync_channel::<Watched>(PENDING_MAX);
    let look = move || {
        let mut all = Vec::new();
        loop {
            match receiver.recv_timeout(LOOK_PAUSE) {
                Ok(watched) => {
                    all.push(watched);
                    all.extend(receiver.try_iter());
                    std::thread::sleep(LOOK_PAUSE);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            all.retain_mut(Watched::look);
        }
    };
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(look);
    thread.inspect_err(|error| warn!(%error, "endless handlers are not watched for")).ok()?;
    Some(sender)
}

impl Watched {
    /// Looks once; false when the incarnation is gone.
    fn look(&mut self) -> bool {
        let Some(pulse) = self.pulse.upgrade() else {
            self.moves();
            return false;
        };
        let handler = pulse.handler().filter(|_| !pulse.is_long());
        match (handler, self.seen) {
            (Some(now), Some((before, same))) if now == before => {
                self.seen = Some((now, same.saturating_add(1)));
                if same + 1 == SAME_MAX {
                    error!(actor = self.name.as_str(), "a handler has run for more than a second");
                    self.metrics.set_stuck(self.name.as_str(), true);
                }
            }
            (Some(now), _) => {
                self.moves();
                self.seen = Some((now, 0));
            }
            (None, _) => self.moves(),
        }
        true
    }

    fn moves(&mut self) {
        if self.seen.take().is_some_and(|(_, same)| same >= SAME_MAX) {
            info!(actor = self.name.as_str(), "the handler has ended");
            self.metrics.set_stuck(self.name.as_str(), false);
        }
    }
}
