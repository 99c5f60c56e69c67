//! How many sockets are open, in all and of each client.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::rate::Client;
use crate::http::error::ApiError;
use crate::http::limits::SocketLimits;
use crate::http::peers::ByClient;

/// Every open socket.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    per_client_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    total: usize,
    by_client: ByClient,
}

/// One of the places; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    client: Client,
}

impl Crowd {
    pub(super) fn new(limits: &SocketLimits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.sockets_max,
            per_client_max: limits.per_client_max,
            inside: Mutex::new(Inside {
                total: 0,
                by_client: ByClient::new(limits.per_client_max),
            }),
        })
    }

    /// A place for a client at this address.
    ///
    /// # Errors
    /// 503 when all are taken, 429 when this client has as many as one may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Seat, ApiError> {
        let client = Client::from(address);
        let mut inside = self.inside();
        if inside.total >= self.max {
            let error = format!("there are {} open sockets, as many as there may be", self.max);
            return Err(ApiError::unavailable("TOO_MANY_SOCKETS", error));
        }
        if !inside.by_client.enter(client) {
            let error = format!("{} sockets of this client are open", self.per_client_max);
            return Err(ApiError::too_many("TOO_MANY_SOCKETS", error, ApiError::SOON));
        }
        inside.total += 1;
        drop(inside);
        Ok(Seat { crowd: Arc::clone(self), client })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing panics while it is held.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.crowd.inside();
        inside.total -= 1;
        inside.by_client.leave(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(sockets_max: usize, per_client_max: usize) -> Arc<Crowd> {
        Crowd::new(&SocketLimits { sockets_max, per_client_max, ..SocketLimits::default() })
    }

    fn refused(crowd: &Arc<Crowd>, address: &str) -> Option<u16> {
        let entered = crowd.enter(address.parse().unwrap());
        entered.err().map(|error| error.status().as_u16())
    }

    #[test]
    fn a_client_has_its_number_of_places_whatever_its_address_looks_like() {
        let crowd = crowd(100, 2);
        let _first = crowd.enter("192.0.2.1".parse().unwrap()).unwrap();
        let second = crowd.enter("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(refused(&crowd, "192.0.2.1"), Some(429));
        assert_eq!(refused(&crowd, "192.0.2.2"), None);
        drop(second);
        assert_eq!(refused(&crowd, "192.0.2.1"), None);

        let _one = crowd.enter("2001:db8::1".parse().unwrap()).unwrap();
        let _two = crowd.enter("2001:db8::ffff:0:1".parse().unwrap()).unwrap();
        assert_eq!(refused(&crowd, "2001:db8::2"), Some(429));
        assert_eq!(refused(&crowd, "2001:db8:0:1::2"), None);
    }

    #[test]
    fn all_clients_together_have_theirs_and_those_refused_leave_nothing() {
        let crowd = crowd(2, 10);
        let seats = ["192.0.2.1", "192.0.2.2"].map(|it| crowd.enter(it.parse().unwrap()).unwrap());
        assert_eq!(refused(&crowd, "192.0.2.3"), Some(503));
        drop(seats);
        let inside = crowd.inside();
        assert_eq!((inside.total, inside.by_client.clients()), (0, 0));
    }
}
