//! Prose paragraphs out of folders of text files.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bizra_omega::domain::snr::words::hash_of;

use crate::markup;

/// Largest file that is read; what is longer is no manual.
const FILE_MAX: u64 = 8 << 20;

/// Words of a paragraph, as spaces separate them.
pub(crate) const WORDS: std::ops::RangeInclusive<usize> = 25..=200;

/// What a file's markup is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    Text,
    Markdown,
    Rst,
    Html,
}

/// Which formats to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formats {
    /// Text, Markdown and reStructuredText.
    Texts,
    /// Those and HTML.
    All,
}

/// The paragraphs of a folder, or of one file, that look like prose; each once, in the order of
/// the files' names.
pub(crate) fn paragraphs(path: &Path, formats: Formats) -> io::Result<Vec<String>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (path, format) in files(path, formats)? {
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        for paragraph in markup::paragraphs(&text, format) {
            let words = paragraph.split_whitespace().count();
            if WORDS.contains(&words)
                && markup::is_prose(&paragraph)
                && seen.insert(hash_of(&paragraph.to_ascii_lowercase()))
            {
                found.push(paragraph);
            }
        }
    }
    Ok(found)
}

/// Every file to read, sorted by name. Links are not followed, hidden files are left out.
fn files(root: &Path, formats: Formats) -> io::Result<Vec<(PathBuf, Format)>> {
    let mut open = vec![root.to_path_buf()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    open.push(entry.path());
                }
            }
        } else if meta.is_file()
            && meta.len() <= FILE_MAX
            && let Some(format) = format_of(&path)
            && (format != Format::Html || formats == Formats::All)
        {
            found.push((path, format));
        }
    }
    found.sort();
    Ok(found)
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "txt" | "text" => Some(Format::Text),
        "md" | "markdown" => Some(Format::Markdown),
        "rst" => Some(Format::Rst),
        "html" | "htm" | "en" => Some(Format::Html),
        _ => None,
    }
}
