//! Masking (RFC 6455 section 5.3).

/// XORs `bytes` with the repeated `key`, in place; masking and unmasking are the same.
///
/// `phase` is how many bytes of the payload came before `bytes`, so that a payload may be unmasked piece by piece.
pub fn mask(bytes: &mut [u8], key: [u8; 4], phase: usize) {
    let mut key = key;
    key.rotate_left(phase & 3);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Chunks of eight with a safe conversion: the compiler turns this loop into vector instructions.
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    // A chunk is two keys long, so the rest begins at the key's first byte again.
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_rfc() {
        let mut hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        mask(&mut hello, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&hello, b"Hello");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn equals_the_byte_loop_at_any_phase(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            start in 0usize..8,
            key in any::<[u8; 4]>(),
            phase in any::<u32>(),
        ) {
            let start = start.min(bytes.len());
            let phase = phase as usize;
            let mut expected = bytes[start..].to_vec();
            for (index, byte) in expected.iter_mut().enumerate() {
                *byte ^= key[(phase + index) % 4];
            }
            let mut found = bytes.clone();
            mask(&mut found[start..], key, phase);
            prop_assert_eq!(&found[start..], expected);
            prop_assert_eq!(&found[..start], &bytes[..start]);
        }
    }
}
