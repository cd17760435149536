//! Who has connections with us: so many in all, and so many of one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::leg::network;
use super::{Leg, MOST_CONNECTIONS, MOST_OF_ONE};

/// Who has connections with us.
#[derive(Clone, Default)]
pub(super) struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of somebody.
pub(super) struct Guest {
    guests: Guests,
    network: IpAddr,
}

impl Guests {
    /// Counts one more, unless there are too many.
    pub(super) fn admit(&self, ip: IpAddr) -> Option<Guest> {
        let network = network(ip);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = all.values().sum();
        let own = all.get(&network).copied().unwrap_or(0);
        if total >= MOST_CONNECTIONS || own >= MOST_OF_ONE {
            return None;
        }
        all.insert(network, own + 1);
        Some(Guest {
            guests: self.clone(),
            network,
        })
    }
}

impl Guest {
    /// Counts until the leg has ended.
    pub(super) fn stays_with(self, leg: &Leg) {
        let ended = leg.ended();
        tokio::spawn(async move {
            ended.await;
            drop(self);
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let all = &self.guests.0;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                all.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_cannot_have_all_connections() {
        let guests = Guests::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let many: Vec<_> = (0..100).filter_map(|_| guests.admit(one)).collect();
        assert_eq!(many.len(), MOST_OF_ONE);
        assert!(guests.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(guests.admit("192.0.2.1".parse().unwrap()).is_some());
        drop(many);
        assert!(guests.0.lock().unwrap().is_empty());
    }
}
