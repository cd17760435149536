//! The published key pairs in `keys/demo`: fine for reading along, refused for real use.

use super::PublicKey;

const PUBLISHED: [&str; 3] = [
    include_str!("../../keys/demo/a.pub"),
    include_str!("../../keys/demo/b.pub"),
    include_str!("../../keys/demo/c.pub"),
];

/// Whether everybody knows the private key behind this public key.
pub fn is_demo(key: &PublicKey) -> bool {
    PUBLISHED
        .iter()
        .any(|text| text.parse::<PublicKey>().as_ref() == Ok(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;

    #[test]
    fn each_published_pair_is_known_and_fits_together() {
        for (private, public) in [
            include_str!("../../keys/demo/a.key"),
            include_str!("../../keys/demo/b.key"),
            include_str!("../../keys/demo/c.key"),
        ]
        .into_iter()
        .zip(PUBLISHED)
        {
            let key = PrivateKey::from_text(private).unwrap().public();
            assert_eq!(key.to_string(), public.trim());
            assert!(is_demo(&key));
        }
        assert!(!is_demo(&PublicKey::from_bytes([9; 32])));
    }
}
