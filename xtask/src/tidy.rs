//! Sizes, first lines, words that must not stay, links, the spelling of RFC references. Source is masked, not parsed: quick and good enough.
//! What is over the limits today stands in `xtask/sizes.tsv`; it may shrink, never grow.

use crate::Faults;
use crate::masked::mask;
use crate::tree::{self, TextFile};
use std::collections::BTreeMap;
use std::path::Path;

/// Code lines of a file, without tests.
const FILE_LINES_MAX: usize = 800;
/// Code lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
const SIZES: &str = "xtask/sizes.tsv";

pub(crate) fn check(root: &Path) -> Faults {
    let sizes = std::fs::read_to_string(root.join(SIZES)).unwrap_or_default();
    let mut ratchet = Ratchet::parse(&sizes);
    let mut faults = Faults::new();
    for file in tree::text_files(root) {
        faults.extend(banned(&file));
        if tree::is_rust(&file.path) {
            faults.extend(first_line(&file));
            faults.extend(size_faults(&file, &mut ratchet));
            faults.extend(rfc_spelling(&file));
        }
        if file.path.ends_with(".md") && !file.path.starts_with("tools/") {
            faults.extend(links(root, &file));
            faults.extend(rfc_spelling(&file));
        }
    }
    faults.extend(ratchet.stale());
    faults
}

fn first_line(file: &TextFile) -> Option<String> {
    let good = file.text.lines().next().is_some_and(|l| l.starts_with("//! ") && l.len() > 20);
    (!good).then(|| format!("{}:1: the first line must be `//!` and say what the file is", file.path))
}

/// Exemptions with the size that they may not exceed.
struct Ratchet {
    allowed: BTreeMap<String, (usize, bool)>,
}

impl Ratchet {
    /// Rows `PATH TAB LINES` for files, `PATH TAB FUNCTION TAB LINES` for functions.
    fn parse(text: &str) -> Self {
        let row = |cells: &[&str]| match cells {
            [path, lines] => Some(((*path).to_owned(), lines.parse().ok()?)),
            [path, function, lines] => Some((format!("{path} {function}"), lines.parse().ok()?)),
            _ => None,
        };
        let allowed = tree::rows(text).iter().filter_map(|(_, cells)| row(cells)).map(|(key, lines)| (key, (lines, false))).collect();
        Self { allowed }
    }

    /// A fault when `lines` is over `limit` and over what is allowed for `key`.
    fn judge(&mut self, key: &str, lines: usize, limit: usize) -> Option<String> {
        if lines <= limit {
            return None;
        }
        match self.allowed.get_mut(key) {
            Some((allowed, used)) => {
                *used = true;
                (lines > *allowed).then(|| format!("{key}: {lines} code lines, {allowed} allowed by {SIZES}: it may only shrink"))
            }
            None => Some(format!("{key}: {lines} code lines, {limit} at most")),
        }
    }

    fn stale(&self) -> Faults {
        self.allowed
            .iter()
            .filter(|(_, (_, used))| !used)
            .map(|(key, _)| format!("{SIZES}: {key} is within the limit now: take the line out"))
            .collect()
    }
}

fn size_faults(file: &TextFile, ratchet: &mut Ratchet) -> Faults {
    if tree::is_test(&file.path) {
        return Faults::new();
    }
    let masked = without_tests(mask(&file.text));
    let mut faults: Faults = ratchet.judge(&file.path, code_lines(&masked), FILE_LINES_MAX).into_iter().collect();
    for (name, lines) in functions(&masked) {
        faults.extend(ratchet.judge(&format!("{} {name}", file.path), lines, FUNCTION_LINES_MAX));
    }
    faults
}

fn code_lines(masked: &[u8]) -> usize {
    masked.split(|b| *b == b'\n').filter(|line| line.iter().any(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'~'))).count()
}

/// Cuts every `#[cfg(test)] mod … { … }` out.
fn without_tests(mut masked: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b"#[cfg(test)]";
    let mut from = 0;
    while let Some(at) = find(&masked, MARK, from) {
        let after = at + MARK.len();
        let body = masked.get(after..).unwrap_or_default();
        let is_module = String::from_utf8_lossy(body).trim_start().starts_with("mod ");
        let open = body.iter().position(|b| matches!(b, b'{' | b';')).map_or(masked.len(), |n| after + n);
        let end = if masked.get(open) == Some(&b'{') { closing(&masked, open) } else { open + 1 };
        if is_module {
            for b in masked.iter_mut().take(end).skip(at).filter(|b| **b != b'\n') {
                *b = b' ';
            }
        }
        from = after;
    }
    masked
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(what.len()).position(|w| w == what).map(|n| from + n)
}

/// Just past the brace that closes the one at `open`.
fn closing(masked: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, b) in masked.iter().enumerate().skip(open) {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return i + 1;
        }
    }
    masked.len()
}

/// Name and code lines of every function with a body.
fn functions(masked: &[u8]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = find(masked, b"fn ", from) {
        from = at + 3;
        let after_word = at.checked_sub(1).and_then(|p| masked.get(p)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let rest = masked.get(from..).unwrap_or_default();
        let name: String = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').map(|b| char::from(*b)).collect();
        if after_word || name.is_empty() {
            continue;
        }
        let Some(open) = body_start(masked, from) else { continue };
        let end = closing(masked, open);
        found.push((name, code_lines(masked.get(at..end).unwrap_or_default())));
    }
    found
}

/// The brace that opens the body; `None` for a declaration. A `;` inside brackets (`[u8; 4]`) ends nothing.
fn body_start(masked: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (i, b) in masked.iter().enumerate().skip(from) {
        match b {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

/// Words that must not stay in a tracked file: unfinished work, and paths of the place where it was written.
/// Written in two halves, so that this file passes its own check.
const BANNED: &[(&str, &str)] = &[("XX", "X"), ("FIX", "ME"), ("/wo", "rk/"), ("sha", "red/"), ("QMAIL-", "SPEC"), ("HOWTO-", "CHECKLIST")];

fn banned(file: &TextFile) -> Faults {
    let mut faults = Faults::new();
    for (first, second) in BANNED {
        let word = format!("{first}{second}");
        for (at, _) in file.text.match_indices(&word) {
            let before = file.text.get(..at).and_then(|t| t.chars().next_back());
            let after = file.text.get(at + word.len()..).and_then(|t| t.chars().next());
            let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let inside = (word.starts_with(char::is_alphanumeric) && part_of_a_word(before))
                || (word.ends_with(char::is_alphanumeric) && part_of_a_word(after));
            if !inside {
                faults.push(format!("{}:{}: \"{word}\" must not stay", file.path, line_of(&file.text, at)));
            }
        }
    }
    faults
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// `RFC 5321 4.5.3.1.8`: one blank, the number, one blank, the section.
fn rfc_spelling(file: &TextFile) -> Faults {
    let wrong = |rest: &str| {
        let glued = rest.starts_with(|c: char| c.is_ascii_digit())
            || (rest.starts_with('-') && rest.get(1..2).is_some_and(|c| c.bytes().all(|b| b.is_ascii_digit())));
        let after_number =
            rest.strip_prefix(' ').map(|r| r.trim_start_matches(|c: char| c.is_ascii_digit())).filter(|r| r.len() + 1 < rest.len());
        let worded = after_number.is_some_and(|r| {
            let r = r.trim_start_matches([',', ' ']);
            ["section ", "Section ", "sec. ", "§"].iter().any(|word| r.starts_with(word))
        });
        glued || worded
    };
    let mut faults = Faults::new();
    for (i, line) in file.text.lines().enumerate() {
        let bad = line.match_indices("RFC").any(|(at, word)| line.get(at + word.len()..).is_some_and(wrong) && !is_item(line, at));
        if bad {
            faults.push(format!("{}:{}: write RFC references as `RFC 5321 4.5.3`", file.path, i + 1));
        }
    }
    faults
}

/// `RFC822` is a name in IMAP and in DSN, `RFC822.SIZE` too.
fn is_item(line: &str, at: usize) -> bool {
    line.get(at..).is_some_and(|rest| rest.starts_with("RFC822"))
}

/// Relative links of a page lead to files.
fn links(root: &Path, file: &TextFile) -> Faults {
    let here = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut faults = Faults::new();
    let mut in_code = false;
    for (i, line) in file.text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for target in targets(line) {
            let outside = target.contains("://") || target.starts_with("mailto:") || target.starts_with('#');
            let path = target.split('#').next().unwrap_or_default();
            if !outside && !root.join(here).join(path).try_exists().unwrap_or(false) {
                faults.push(format!("{}:{}: the link to {target} leads nowhere", file.path, i + 1));
            }
        }
    }
    faults
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, mark)| {
        let rest = line.get(at + mark.len()..)?;
        Some(rest.split(')').next()?.split(' ').next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests;
