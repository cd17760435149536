//! Keys that are on their way out: both the new and the old one hold for a while, so that no end has to change first.

use super::{PrivateKey, Psk, PublicKey};

/// Of two keys in the same place, which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The one that counts.
    Current,
    /// The one that it has replaced.
    Former,
}

/// A pre-shared key and the one that it has replaced.
#[derive(Clone, Default)]
pub struct Psks {
    /// The one that counts.
    pub current: Option<Psk>,
    /// One that is still as good.
    pub former: Option<Psk>,
}

impl Psks {
    /// One key, or none.
    pub fn of(current: Option<Psk>) -> Self {
        Psks {
            current,
            former: None,
        }
    }

    /// Those that there are, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Psk> + Clone {
        self.current.iter().chain(&self.former)
    }

    /// The one that both ends have while they change: the older, if there are two.
    pub fn oldest(&self) -> Option<&Psk> {
        self.iter().last()
    }
}

impl PartialEq for Psks {
    fn eq(&self, other: &Self) -> bool {
        let texts =
            |psks: &Psks| [&psks.current, &psks.former].map(|p| p.as_ref().map(|p| *p.expose()));
        texts(self) == texts(other)
    }
}

impl Eq for Psks {}

/// Our own key and the one that it has replaced.
#[derive(Clone)]
pub struct OwnKeys {
    /// The one that counts.
    pub current: PrivateKey,
    /// The one that peers may still know us by.
    pub former: Option<PrivateKey>,
}

impl From<PrivateKey> for OwnKeys {
    fn from(current: PrivateKey) -> Self {
        OwnKeys {
            current,
            former: None,
        }
    }
}

impl OwnKeys {
    /// One of them; the current one where there is no other.
    pub fn get(&self, which: Which) -> &PrivateKey {
        match (which, &self.former) {
            (Which::Former, Some(former)) => former,
            _ => &self.current,
        }
    }

    /// What others know us by.
    pub fn names(&self) -> Names {
        Names {
            current: self.current.public(),
            former: self.former.as_ref().map(PrivateKey::public),
        }
    }
}

/// What a member is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Its key.
    pub current: PublicKey,
    /// The key that it had before, and may still use.
    pub former: Option<PublicKey>,
}

impl From<PublicKey> for Names {
    fn from(current: PublicKey) -> Self {
        Names {
            current,
            former: None,
        }
    }
}

impl Names {
    /// All of them, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = PublicKey> + use<> {
        std::iter::once(self.current).chain(self.former)
    }

    /// Whether this key is one of them.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.iter().any(|own| own == *key)
    }

    /// The one that others have heard of while it changes: the older, if there are two.
    pub fn oldest(&self) -> PublicKey {
        self.get(Which::Former)
    }

    /// One of them; the current one where there is no other.
    pub fn get(&self, which: Which) -> PublicKey {
        match which {
            Which::Former => self.former.unwrap_or(self.current),
            Which::Current => self.current,
        }
    }
}
