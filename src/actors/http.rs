//! Accepts HTTP connections. What happens on them is in `crate::http`.
//!
//! The listeners and the connections belong to the [`Server`], which outlives every incarnation:
//! while this actor is down, new connections wait in the kernel's queue, and those already made
//! are served.

use crate::actor::{Actor, Failure, Turn};
use crate::http::server::{Accepting, Server};
use crate::messages::http::HttpMsg;

/// The actor's name.
pub const NAME: &str = "http";

/// Accepts connections for as long as it lives.
#[derive(Debug)]
pub struct Http {
    /// What the connections are made to.
    pub server: Server,
}

impl Actor for Http {
    type Msg = HttpMsg;
    type State = Accepting;

    async fn start(&self) -> Result<Accepting, Failure> {
        Ok(self.server.accept())
    }

    async fn handle(&self, message: HttpMsg, _: Turn, _: &mut Accepting) -> Result<(), Failure> {
        match message {}
    }

    async fn check(&self, accepting: &mut Accepting) -> Result<(), Failure> {
        if accepting.is_over() {
            return Err("an accept loop ended".into());
        }
        Ok(())
    }

    /// Connections are asked to end only when the node goes down, not when a next incarnation will
    /// accept again: closing a kept-alive connection races with the client's next request.
    async fn stop(&self, accepting: &mut Accepting, is_told: bool) {
        if !is_told {
            return;
        }
        let cut = self.server.drain(accepting).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut connections that did not end in time");
        }
    }
}
