//! Tools for constant data bases: `cdbmake CDB TMP`, `cdbget KEY [SKIP]`, `cdbdump` and `cdbstats` (the data base on descriptor 0), and `cdb`
//! with -c, -q, -d, -s for the same four. Records are written `+KEYLEN,DATALEN:KEY->DATA`, an empty line ends them.

use super::tcprules::replace;
use crate::fatal::{self, Fatal};
use postino_control::cdb::{Cdb, CdbError, CdbWriter, Record, hash};
use postino_types::exit;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Exit code of a key that is not there.
const NOT_FOUND: i32 = 100;

pub(crate) fn make(args: &[OsString]) -> Result<(), Fatal> {
    let [cdb, tmp, ..] = args else { return Err(Fatal::usage("cdbmake f ftmp")) };
    make_into(Path::new(cdb), Path::new(tmp))
}

pub(crate) fn get(args: &[OsString]) -> i32 {
    let Some(key) = args.first() else { return fatal::main("cdbget", Err(Fatal::usage("cdbget key [skip]"))) };
    let skip = args.get(1).and_then(|n| n.to_str()?.parse().ok()).unwrap_or(0);
    print_found("cdbget", read_input(), key.as_bytes(), skip)
}

pub(crate) fn dump(_: &[OsString]) -> Result<(), Fatal> {
    print_records(&read_input()?)
}

pub(crate) fn stats(_: &[OsString]) -> Result<(), Fatal> {
    print_stats(&read_input()?)
}

/// `cdb -c [-t TMP] CDB`, `cdb -d CDB`, `cdb -l CDB`, `cdb -s CDB`, `cdb -q CDB KEY`.
pub(crate) fn run(args: &[OsString]) -> i32 {
    let words: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
    let path = |word: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(word));
    let result = match words.as_slice() {
        [b"-c", b"-t", tmp, cdb] => make_into(&path(cdb), &path(tmp)),
        [b"-c", cdb] => make_into(&path(cdb), &path(&[cdb, b".tmp".as_slice()].concat())),
        [b"-d", cdb] => read_file(&path(cdb)).and_then(|records| print_records(&records)),
        [b"-l", cdb] => read_file(&path(cdb)).and_then(|records| print_keys(&records)),
        [b"-s", cdb] => read_file(&path(cdb)).and_then(|records| print_stats(&records)),
        [b"-q", cdb, key] => return print_found("cdb", read_file(&path(cdb)), key, 0),
        _ => Err(Fatal::usage("cdb -c [-t tmp] cdb | -d cdb | -l cdb | -s cdb | -q cdb key")),
    };
    fatal::main("cdb", result)
}

fn read_input() -> Result<Vec<Record>, Fatal> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(|e| Fatal::unable("read input", &e))?;
    records_of(bytes)
}

fn read_file(path: &Path) -> Result<Vec<Record>, Fatal> {
    records_of(std::fs::read(path).map_err(|e| Fatal::unable(&format!("read {}", path.display()), &e))?)
}

fn records_of(bytes: Vec<u8>) -> Result<Vec<Record>, Fatal> {
    let damaged = |e: CdbError| Fatal::soft(format!("unable to read database: {e}"));
    Cdb::new(bytes).and_then(|cdb| cdb.records()).map_err(damaged)
}

fn write_out(bytes: &[u8]) -> Result<(), Fatal> {
    io::stdout().lock().write_all(bytes).map_err(|e| Fatal::unable("write output", &e))
}

fn print_records(records: &[Record]) -> Result<(), Fatal> {
    let mut out = Vec::new();
    for (key, data) in records {
        out.extend_from_slice(format!("+{},{}:", key.len(), data.len()).as_bytes());
        out.extend_from_slice(&[key.as_slice(), b"->", data, b"\n"].concat());
    }
    out.push(b'\n');
    write_out(&out)
}

fn print_keys(records: &[Record]) -> Result<(), Fatal> {
    let mut out = Vec::new();
    for (key, _) in records {
        out.extend_from_slice(format!("+{}:", key.len()).as_bytes());
        out.extend_from_slice(&[key.as_slice(), b"\n"].concat());
    }
    out.push(b'\n');
    write_out(&out)
}

fn print_found(name: &str, records: Result<Vec<Record>, Fatal>, key: &[u8], skip: usize) -> i32 {
    let found = records.map(|records| records.into_iter().filter(|(known, _)| known == key).nth(skip));
    match found {
        Ok(Some((_, data))) => fatal::main(name, write_out(&data)),
        Ok(None) => NOT_FOUND,
        Err(error) => fatal::main(name, Err(error)),
    }
}

/// Records, and how far each stands from where its search begins.
fn print_stats(records: &[Record]) -> Result<(), Fatal> {
    let mut distances = [0usize; 11];
    for distance in distances_of(records) {
        if let Some(count) = distances.get_mut(distance.min(10)) {
            *count += 1;
        }
    }
    let mut out = format!("records {:>10}\n", records.len());
    for (distance, count) in distances.iter().enumerate() {
        let label = if distance == 10 { ">9".to_owned() } else { format!("d{distance}") };
        out.push_str(&format!("{label:<7} {count:>10}\n"));
    }
    write_out(out.as_bytes())
}

fn distances_of(records: &[Record]) -> Vec<usize> {
    let mut hashes: Vec<Vec<u32>> = vec![Vec::new(); 256];
    for hash in records.iter().map(|(key, _)| hash(key)) {
        if let Some(table) = usize::try_from(hash & 255).ok().and_then(|t| hashes.get_mut(t)) {
            table.push(hash);
        }
    }
    hashes.iter().flat_map(|table| table_distances(table)).collect()
}

fn table_distances(hashes: &[u32]) -> Vec<usize> {
    let slots = hashes.len() * 2;
    let mut taken = vec![false; slots];
    let mut out = Vec::with_capacity(hashes.len());
    for hash in hashes {
        let start = usize::try_from(hash >> 8).unwrap_or(0) % slots.max(1);
        let free = (start..slots).chain(0..start).position(|slot| taken.get(slot) == Some(&false));
        let Some(distance) = free else { continue };
        if let Some(slot) = taken.get_mut((start + distance) % slots) {
            *slot = true;
        }
        out.push(distance);
    }
    out
}

fn make_into(target: &Path, tmp: &Path) -> Result<(), Fatal> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input).map_err(|e| Fatal::unable("read input", &e))?;
    let records = parse(&input).ok_or_else(|| Fatal::with_code(exit::SOFT, "unable to read input: bad format"))?;
    let mut writer = CdbWriter::new();
    let too_big = |e: CdbError| Fatal::soft(format!("unable to write {}: {e}", tmp.display()));
    for (key, data) in records {
        writer.add(key, data).map_err(too_big)?;
    }
    replace(target, tmp, &writer.finish().map_err(too_big)?)
}

fn parse(mut input: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut out = Vec::new();
    while let Some(rest) = input.strip_prefix(b"+") {
        let (key_bytes, rest) = number(rest, b',')?;
        let (data_bytes, rest) = number(rest, b':')?;
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let (data, rest) = rest.strip_prefix(b"->")?.split_at_checked(data_bytes)?;
        out.push((key, data));
        input = rest.strip_prefix(b"\n")?;
    }
    (input.first() == Some(&b'\n')).then_some(out)
}

fn number(input: &[u8], end: u8) -> Option<(usize, &[u8])> {
    let at = input.iter().position(|&b| b == end)?;
    let digits = input.get(..at)?;
    let number = digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()?;
    Some((number, input.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed_with_their_lengths() {
        let two: Vec<(&[u8], &[u8])> = vec![(b"one", b"Hel\nlo"), (b"", b"x")];
        assert_eq!(parse(b"+3,6:one->Hel\nlo\n+0,1:->x\n\n"), Some(two));
        for bad in [&b""[..], b"+1,1:a->b\n", b"+1,1:a-b\n\n", b"+x,1:a->b\n\n", b"+9,9:a->b\n\n", b"+1,1:a->bc\n\n"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn distances_count_collisions() {
        assert_eq!(table_distances(&[0, 0, 256]), [0, 1, 1]);
    }
}
