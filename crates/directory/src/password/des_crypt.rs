//! Traditional crypt(3) (DES, 13 characters): what vpopmail wrote where MD5 was switched off. Called by the dispatcher.
//! Pure and slow on purpose (one bit a byte, after the original); broken as a hash, kept only to read old files.
#![allow(clippy::indexing_slicing, reason = "every index comes from the algorithm's own constant tables, none from outside")]

/// The hash of `password` with the two salt characters of `stored`; `None` when `stored` is not 13 characters of the crypt alphabet.
pub(super) fn crypt(password: &[u8], stored: &[u8]) -> Option<String> {
    if stored.len() != 13 || !stored.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/') {
        return None;
    }
    let mut key = [0u8; 64];
    for (byte, bits) in password.iter().zip(key.chunks_mut(8)) {
        for (place, bit) in bits.iter_mut().take(7).enumerate() {
            *bit = (byte >> (6 - place)) & 1;
        }
    }
    let schedule = key_schedule(&key);
    let expansion = salted_expansion(stored.get(..2)?);
    let mut block = [0u8; 64];
    for _ in 0..25 {
        block = encrypt(&block, &schedule, &expansion);
    }
    let mut out = String::with_capacity(13);
    out.push(char::from(*stored.first()?));
    out.push(char::from(*stored.get(1)?));
    let mut padded = [0u8; 66];
    padded[..64].copy_from_slice(&block);
    for six in padded.chunks(6) {
        let value = six.iter().fold(0u32, |value, &bit| value << 1 | u32::from(bit));
        out.push(char::from(super::modular::crypt_digit(value)));
    }
    Some(out)
}

fn salt_value(character: u8) -> u8 {
    match character {
        b'a'..=b'z' => character - b'a' + 38,
        b'A'..=b'Z' => character - b'A' + 12,
        _ => character.saturating_sub(b'.'),
    }
}

/// The E table with the salt's swaps.
fn salted_expansion(salt: &[u8]) -> [u8; 48] {
    let mut table = EXPANSION;
    for (i, &character) in salt.iter().enumerate() {
        let value = salt_value(character);
        for j in 0..6 {
            if (value >> j) & 1 == 1 {
                table.swap(6 * i + j, 6 * i + j + 24);
            }
        }
    }
    table
}

fn key_schedule(key: &[u8; 64]) -> [[u8; 48]; 16] {
    let mut cd = [0u8; 56];
    for (bit, &from) in cd.iter_mut().zip(&KEY_CHOICE_1) {
        *bit = key[usize::from(from) - 1];
    }
    let mut schedule = [[0u8; 48]; 16];
    for (round, &shift) in schedule.iter_mut().zip(&SHIFTS) {
        let (c, d) = cd.split_at_mut(28);
        c.rotate_left(shift);
        d.rotate_left(shift);
        for (bit, &from) in round.iter_mut().zip(&KEY_CHOICE_2) {
            *bit = cd[usize::from(from) - 1];
        }
    }
    schedule
}

fn encrypt(block: &[u8; 64], schedule: &[[u8; 48]; 16], expansion: &[u8; 48]) -> [u8; 64] {
    let mut halves = [0u8; 64];
    for (bit, &from) in halves.iter_mut().zip(&INITIAL) {
        *bit = block[usize::from(from) - 1];
    }
    let mut left = [0u8; 32];
    let mut right = [0u8; 32];
    left.copy_from_slice(&halves[..32]);
    right.copy_from_slice(&halves[32..]);
    for key in schedule {
        let mixed = feistel(&right, key, expansion);
        let mut next = [0u8; 32];
        for (bit, (l, m)) in next.iter_mut().zip(left.iter().zip(&mixed)) {
            *bit = l ^ m;
        }
        left = right;
        right = next;
    }
    halves[..32].copy_from_slice(&right);
    halves[32..].copy_from_slice(&left);
    let mut out = [0u8; 64];
    for (&to, &bit) in INITIAL.iter().zip(&halves) {
        out[usize::from(to) - 1] = bit; // the final permutation is the inverse of the first
    }
    out
}

fn feistel(right: &[u8; 32], key: &[u8; 48], expansion: &[u8; 48]) -> [u8; 32] {
    let mut substituted = [0u8; 32];
    for (number, box_) in SUBSTITUTION.iter().enumerate() {
        let bit = |place: usize| usize::from(right[usize::from(expansion[6 * number + place]) - 1] ^ key[6 * number + place]);
        let row = bit(0) << 1 | bit(5);
        let column = bit(1) << 3 | bit(2) << 2 | bit(3) << 1 | bit(4);
        let value = box_[row * 16 + column];
        for place in 0..4 {
            substituted[4 * number + place] = (value >> (3 - place)) & 1;
        }
    }
    let mut out = [0u8; 32];
    for (bit, &from) in out.iter_mut().zip(&PERMUTATION) {
        *bit = substituted[usize::from(from) - 1];
    }
    out
}

// FIPS 46-3, numbered from 1 as there.
#[rustfmt::skip]
const INITIAL: [u8; 64] = [
    58,50,42,34,26,18,10,2, 60,52,44,36,28,20,12,4, 62,54,46,38,30,22,14,6, 64,56,48,40,32,24,16,8,
    57,49,41,33,25,17,9,1, 59,51,43,35,27,19,11,3, 61,53,45,37,29,21,13,5, 63,55,47,39,31,23,15,7,
];
#[rustfmt::skip]
const EXPANSION: [u8; 48] = [
    32,1,2,3,4,5, 4,5,6,7,8,9, 8,9,10,11,12,13, 12,13,14,15,16,17,
    16,17,18,19,20,21, 20,21,22,23,24,25, 24,25,26,27,28,29, 28,29,30,31,32,1,
];
#[rustfmt::skip]
const PERMUTATION: [u8; 32] = [
    16,7,20,21,29,12,28,17, 1,15,23,26,5,18,31,10, 2,8,24,14,32,27,3,9, 19,13,30,6,22,11,4,25,
];
#[rustfmt::skip]
const KEY_CHOICE_1: [u8; 56] = [
    57,49,41,33,25,17,9, 1,58,50,42,34,26,18, 10,2,59,51,43,35,27, 19,11,3,60,52,44,36,
    63,55,47,39,31,23,15, 7,62,54,46,38,30,22, 14,6,61,53,45,37,29, 21,13,5,28,20,12,4,
];
#[rustfmt::skip]
const KEY_CHOICE_2: [u8; 48] = [
    14,17,11,24,1,5, 3,28,15,6,21,10, 23,19,12,4,26,8, 16,7,27,20,13,2,
    41,52,31,37,47,55, 30,40,51,45,33,48, 44,49,39,56,34,53, 46,42,50,36,29,32,
];
const SHIFTS: [usize; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
#[rustfmt::skip]
const SUBSTITUTION: [[u8; 64]; 8] = [
    [14,4,13,1,2,15,11,8,3,10,6,12,5,9,0,7, 0,15,7,4,14,2,13,1,10,6,12,11,9,5,3,8,
     4,1,14,8,13,6,2,11,15,12,9,7,3,10,5,0, 15,12,8,2,4,9,1,7,5,11,3,14,10,0,6,13],
    [15,1,8,14,6,11,3,4,9,7,2,13,12,0,5,10, 3,13,4,7,15,2,8,14,12,0,1,10,6,9,11,5,
     0,14,7,11,10,4,13,1,5,8,12,6,9,3,2,15, 13,8,10,1,3,15,4,2,11,6,7,12,0,5,14,9],
    [10,0,9,14,6,3,15,5,1,13,12,7,11,4,2,8, 13,7,0,9,3,4,6,10,2,8,5,14,12,11,15,1,
     13,6,4,9,8,15,3,0,11,1,2,12,5,10,14,7, 1,10,13,0,6,9,8,7,4,15,14,3,11,5,2,12],
    [7,13,14,3,0,6,9,10,1,2,8,5,11,12,4,15, 13,8,11,5,6,15,0,3,4,7,2,12,1,10,14,9,
     10,6,9,0,12,11,7,13,15,1,3,14,5,2,8,4, 3,15,0,6,10,1,13,8,9,4,5,11,12,7,2,14],
    [2,12,4,1,7,10,11,6,8,5,3,15,13,0,14,9, 14,11,2,12,4,7,13,1,5,0,15,10,3,9,8,6,
     4,2,1,11,10,13,7,8,15,9,12,5,6,3,0,14, 11,8,12,7,1,14,2,13,6,15,0,9,10,4,5,3],
    [12,1,10,15,9,2,6,8,0,13,3,4,14,7,5,11, 10,15,4,2,7,12,9,5,6,1,13,14,0,11,3,8,
     9,14,15,5,2,8,12,3,7,0,4,10,1,13,11,6, 4,3,2,12,9,5,15,10,11,14,1,7,6,0,8,13],
    [4,11,2,14,15,0,8,13,3,12,9,7,5,10,6,1, 13,0,11,7,4,9,1,10,14,3,5,12,2,15,8,6,
     1,4,11,13,12,3,7,14,10,15,6,8,0,5,9,2, 6,11,13,8,1,4,10,7,9,5,0,15,14,2,3,12],
    [13,2,8,4,6,15,11,1,10,9,3,14,5,0,12,7, 1,15,13,8,10,3,7,4,12,5,6,11,0,14,9,2,
     7,11,4,1,9,12,14,2,0,6,10,13,15,3,5,8, 2,1,14,7,4,10,8,13,15,12,9,0,3,5,6,11],
];
