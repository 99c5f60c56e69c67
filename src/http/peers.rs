//! How many connections one client holds, so that none holds them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::domain::rate::Client;

/// How many of something each client holds. A client that holds none takes no room.
#[derive(Debug)]
pub(super) struct ByClient {
    held: HashMap<Client, usize>,
    each_max: usize,
}

impl ByClient {
    pub(super) fn new(each_max: usize) -> Self {
        Self { held: HashMap::new(), each_max }
    }

    /// Counts one more for `client`, unless it holds as many as it may.
    pub(super) fn enter(&mut self, client: Client) -> bool {
        let count = self.held.get(&client).copied().unwrap_or_default();
        if count >= self.each_max {
            return false;
        }
        self.held.insert(client, count + 1);
        true
    }

    /// Clients that hold any.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.held.len()
    }

    /// One of those that `client` holds is gone.
    pub(super) fn leave(&mut self, client: Client) {
        if let Some(count) = self.held.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&client);
            }
        }
    }
}

/// The open connections by client. There are never more clients than connections.
#[derive(Clone, Debug)]
pub(super) struct Peers(Arc<Mutex<ByClient>>);

/// The place of one open connection, among all and among those of its client.
#[derive(Debug)]
pub(super) struct Admission {
    _permit: OwnedSemaphorePermit,
    held: Option<(Peers, Client)>,
}

impl Peers {
    pub(super) fn new(each_max: usize) -> Self {
        Self(Arc::new(Mutex::new(ByClient::new(each_max))))
    }

    /// Counts a connection from `address` until the admission is dropped; `None` if its client
    /// holds as many as it may. This machine is not counted: there are the owner's own programs, and
    /// proxies that speak for many.
    pub(super) fn admit(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Admission> {
        if address.to_canonical().is_loopback() {
            return Some(Admission { _permit: permit, held: None });
        }
        let client = Client::from(address);
        let held = self.open().enter(client).then(|| (self.clone(), client));
        held.map(|held| Admission { _permit: permit, held: Some(held) })
    }

    fn open(&self) -> MutexGuard<'_, ByClient> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some((peers, client)) = self.held.take() {
            peers.open().leave(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_client_holds_so_many_and_others_are_not_concerned() {
        let places = Arc::new(Semaphore::new(100));
        let peers = Peers::new(2);
        let admit = |address: &str| {
            let permit = Arc::clone(&places).try_acquire_owned().unwrap();
            peers.admit(address.parse().unwrap(), permit)
        };
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("::ffff:192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        let network: Vec<_> = (1..=2).map(|it| admit(&format!("2001:db8::{it}"))).collect();
        assert!(network.iter().all(Option::is_some));
        assert!(admit("2001:db8::3").is_none());
        let local: Vec<_> = (0..9).map(|_| admit("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        assert_eq!(places.available_permits(), 100 - 5 - 9);
        drop((network, local));
        assert_eq!(peers.open().clients(), 2);
    }
}
