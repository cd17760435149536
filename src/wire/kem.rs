//! The parameter sets of ML-KEM (FIPS 203) as they travel: keys in a payload, ciphertexts in front of message 2.

/// A parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterSet {
    /// ML-KEM-512: what paths of 1280 bytes take.
    MlKem512,
    /// ML-KEM-768.
    MlKem768,
}

impl ParameterSet {
    /// Both, the stronger first.
    pub const ALL: [ParameterSet; 2] = [ParameterSet::MlKem768, ParameterSet::MlKem512];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            ParameterSet::MlKem512 => "ml-kem-512",
            ParameterSet::MlKem768 => "ml-kem-768",
        }
    }

    /// Bytes of an encapsulation key (FIPS 203 section 8).
    pub const fn key_len(self) -> usize {
        match self {
            ParameterSet::MlKem512 => 800,
            ParameterSet::MlKem768 => 1184,
        }
    }

    /// Bytes of a ciphertext.
    pub const fn ciphertext_len(self) -> usize {
        match self {
            ParameterSet::MlKem512 => 768,
            ParameterSet::MlKem768 => 1088,
        }
    }

    /// The set that an encapsulation key of this length is of.
    pub fn of_key(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.key_len() == len)
    }

    /// The first flag byte of a response with a ciphertext.
    pub const fn flag(self) -> u8 {
        match self {
            ParameterSet::MlKem768 => 1,
            ParameterSet::MlKem512 => 2,
        }
    }

    /// The set that a flag byte stands for; `None` for zero as well as for what no version uses.
    pub fn of_flag(flag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.flag() == flag)
    }
}

/// Whether and how far a second secret is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostQuantum {
    /// Not at all.
    Off,
    /// With everybody who can.
    #[default]
    Prefer,
    /// With everybody.
    Require,
}
