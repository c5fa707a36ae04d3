//! The text of `vpasswd` as bytes in the order of the names: found by halving, changed by splicing, so that a domain of 100,000 accounts is never
//! taken apart line by line into little pieces. Called by the keeper of accounts. Pure. Lines that a change does not touch keep their bytes.

use postino_control::cdb::{CdbError, CdbWriter};
use std::collections::BTreeMap;
use std::ops::Range;

/// Lines `name:rest`, sorted by name, each name once, each ended by LF.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AccountText {
    bytes: Vec<u8>,
}

impl AccountText {
    /// Takes the file; one that is out of order or names somebody twice (the first counts) is put in order. `None`: a line has no colon.
    pub(super) fn new(mut bytes: Vec<u8>) -> Option<Self> {
        if bytes.last().is_some_and(|&b| b != b'\n') {
            bytes.push(b'\n');
        }
        let mut last: &[u8] = b"";
        let mut in_order = true;
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            if line == b"\n" {
                in_order = false;
                continue;
            }
            let name = name_of(line)?;
            in_order &= last < name;
            last = name;
        }
        Some(if in_order { Self { bytes } } else { Self { bytes: ordered(&bytes) } })
    }

    /// What stands after `name:`, without LF.
    pub(super) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let line = self.bytes.get(self.search(name).ok()?)?;
        line.get(name.len() + 1..line.len().saturating_sub(1))
    }

    /// Adds or replaces a line.
    pub(super) fn put(&mut self, name: &[u8], rest: &[u8]) {
        let place = self.search(name).unwrap_or_else(|at| at..at);
        let line = [name, b":", rest, b"\n"].concat();
        self.bytes.splice(place, line);
    }

    /// Says whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let Ok(place) = self.search(name) else { return false };
        self.bytes.drain(place);
        true
    }

    /// Name and rest of each line whose name is greater than `after`, in order.
    pub(super) fn lines_after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let start = after.map_or(0, |after| self.search(after).map_or_else(|at| at, |line| line.end));
        self.bytes.get(start..).unwrap_or_default().split(|&b| b == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            Some((line.get(..colon)?, line.get(colon + 1..)?))
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.bytes.iter().filter(|&&b| b == b'\n').count()
    }

    /// The file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `vpasswd.cdb`: key the name, data the rest.
    pub(super) fn data(&self) -> Result<Vec<u8>, CdbError> {
        let mut writer = CdbWriter::new();
        for (name, rest) in self.lines_after(None) {
            writer.add(name, rest)?;
        }
        writer.finish()
    }

    /// The line of `name`, or where it belongs.
    fn search(&self, name: &[u8]) -> Result<Range<usize>, usize> {
        let (mut low, mut high) = (0, self.bytes.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.bytes.get(low..middle).and_then(|part| part.iter().rposition(|&b| b == b'\n')).map_or(low, |at| low + at + 1);
            let line = self.bytes.get(start..high).and_then(|part| part.split_inclusive(|&b| b == b'\n').next()).unwrap_or_default();
            let end = start + line.len();
            match name_of(line).unwrap_or(line).cmp(name) {
                std::cmp::Ordering::Equal => return Ok(start..end),
                std::cmp::Ordering::Less => low = end,
                std::cmp::Ordering::Greater => high = start,
            }
        }
        Err(low)
    }
}

fn name_of(line: &[u8]) -> Option<&[u8]> {
    line.get(..line.iter().position(|&b| b == b':')?)
}

fn ordered(bytes: &[u8]) -> Vec<u8> {
    let mut lines: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        if let Some(name) = name_of(line) {
            lines.entry(name).or_insert(line);
        }
    }
    lines.into_values().collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_and_doubles_and_missing_line_ends_are_mended() {
        let text = AccountText::new(b"b:2\na:1\n\nb:3\nc:4".to_vec()).unwrap();
        assert_eq!(text.bytes(), b"a:1\nb:2\nc:4\n");
        assert_eq!(AccountText::new(b"a:1\nnothing\n".to_vec()), None);
        assert_eq!(AccountText::new(Vec::new()).unwrap().count(), 0);
        // By names, not by lines: `-` and `.` are less than the colon.
        let text = AccountText::new(b"a:1\na-b:2\n".to_vec()).unwrap();
        assert_eq!(text.bytes(), b"a:1\na-b:2\n");
    }

    proptest! {
        #[test]
        fn does_what_a_map_does(steps in proptest::collection::vec(("[a-c.-]{1,3}", "[a-z:]{0,5}", any::<bool>()), 0..60), after in "[a-c.-]{0,3}") {
            let mut map = BTreeMap::new();
            let mut text = AccountText::default();
            for (name, rest, add) in &steps {
                if *add {
                    map.insert(name.clone(), rest.clone());
                    text.put(name.as_bytes(), rest.as_bytes());
                } else {
                    prop_assert_eq!(text.remove(name.as_bytes()), map.remove(name).is_some());
                }
                prop_assert_eq!(text.get(name.as_bytes()), map.get(name).map(String::as_bytes));
            }
            let want: Vec<u8> = map.iter().flat_map(|(name, rest)| format!("{name}:{rest}\n").into_bytes()).collect();
            prop_assert_eq!(text.bytes(), want.as_slice());
            prop_assert_eq!(text.count(), map.len());
            let page: Vec<&[u8]> = text.lines_after(Some(after.as_bytes())).map(|(name, _)| name).collect();
            let want: Vec<&[u8]> = map.keys().filter(|name| **name > after).map(String::as_bytes).collect();
            prop_assert_eq!(page, want);
            prop_assert_eq!(AccountText::new(text.bytes().to_vec()), Some(text));
        }
    }
}
