//! Signed models: ed25519 as RFC 8032 has it ("pure", without a context), over all bytes of the model file.
//!
//! Nothing else is signed, so that any tool that knows ed25519 can sign a file. The file states its own length, format version and kind, so
//! that no part of it, and no file of another kind, passes for it. The signing half, for the host, is here too: the device's code does not
//! contain it unless it is called.

use super::Signature;
use super::judge::Verifier;
use ed25519_compact::{KeyPair, PublicKey, Seed};

/// A public key: 32 bytes that a firmware is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelKey(pub [u8; 32]);

impl ModelKey {
    /// The key of 64 hexadecimal digits, as `ocelli push --new-key` prints it; `None` for anything else.
    #[must_use]
    pub const fn from_hex(digits: &str) -> Option<Self> {
        let (mut rest, mut key) = (digits.as_bytes(), [0; 32]);
        if rest.len() != 64 {
            return None;
        }
        let mut bytes: &mut [u8] = &mut key;
        while let ([high, low, next @ ..], [byte, others @ ..]) = (rest, bytes) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return None };
            *byte = high << 4 | low;
            (rest, bytes) = (next, others);
        }
        Some(Self(key))
    }
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

impl Verifier for ModelKey {
    fn key_id(&self) -> [u8; 8] {
        *self.0.first_chunk().unwrap_or(&[0; 8])
    }

    fn verify(&self, file: &[u8], signature: &Signature) -> bool {
        PublicKey::new(self.0).verify(file, &ed25519_compact::Signature::new(*signature)).is_ok()
    }
}

/// The public key of a secret one: 32 bytes that nobody can guess, RFC 8032's private key.
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> ModelKey {
    ModelKey(*KeyPair::from_seed(Seed::new(*secret)).pk)
}

/// Signs a model file.
#[must_use]
pub fn sign(secret: &[u8; 32], file: &[u8]) -> Signature {
    *KeyPair::from_seed(Seed::new(*secret)).sk.sign(file, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        core::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 8032, section 7.1, test 3.
    #[test]
    fn the_signature_is_that_of_the_rfc() {
        let secret = bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let public = bytes("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let signature = bytes(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
        assert_eq!(public_key(&secret), ModelKey(public));
        assert_eq!(sign(&secret, &[0xAF, 0x82]), signature);
        assert!(ModelKey(public).verify(&[0xAF, 0x82], &signature));
        assert_eq!(ModelKey(public).key_id(), public[..8]);
    }

    #[test]
    fn a_key_is_read_from_its_digits() {
        let digits = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
        assert_eq!(ModelKey::from_hex(digits), Some(ModelKey(bytes(digits))));
        assert_eq!(ModelKey::from_hex(&digits.to_uppercase()), Some(ModelKey(bytes(digits))));
        for wrong in ["", &digits[1..], &std::format!("{digits}0"), &digits.replace('f', "g")] {
            assert_eq!(ModelKey::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_change_of_file_signature_or_key_is_noticed() {
        let (secret, file) = ([3; 32], *b"OCELLI\r\n and more");
        let (key, signature) = (public_key(&secret), sign(&secret, &file));
        assert!(key.verify(&file, &signature));
        for at in 0..file.len() {
            let mut other = file;
            other[at] ^= 1;
            assert!(!key.verify(&other, &signature), "byte {at}");
        }
        assert!(!key.verify(&file[..file.len() - 1], &signature));
        for at in 0..64 {
            let mut other = signature;
            other[at] ^= 0x10;
            assert!(!key.verify(&file, &other), "byte {at} of the signature");
        }
        assert!(!public_key(&[4; 32]).verify(&file, &signature));
        for extreme in [[0; 64], [0xFF; 64]] {
            assert!(!key.verify(&file, &extreme));
            assert!(!ModelKey([0; 32]).verify(&file, &extreme), "a key that is none");
        }
    }
}
