//! Takes the obvious markup and code off a text and cuts it into paragraphs.

use crate::corpus::Format;

/// The paragraphs of a text, each on one line.
pub(crate) fn paragraphs(text: &str, format: Format) -> Vec<String> {
    match format {
        Format::Html => html(text),
        Format::Text => blocks(text, |_| false),
        Format::Markdown => markdown(text),
        Format::Rst => rst(text),
    }
    .into_iter()
    .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
    .filter(|paragraph| !paragraph.is_empty())
    .collect()
}

/// Whether a paragraph looks like prose at all: mostly letters, and no program or table.
pub(crate) fn is_prose(paragraph: &str) -> bool {
    let (mut letters, mut others) = (0, 0);
    for c in paragraph.chars().filter(|c| !c.is_whitespace()) {
        if c.is_alphabetic() { letters += 1 } else { others += 1 }
    }
    let code = paragraph.split_whitespace().filter(|word| {
        word.ends_with([';', '{', '}']) && word.len() > 1 || ["=", "{", "}", "|"].contains(word)
    });
    letters >= others * 4 && code.count() * 12 < paragraph.split_whitespace().count()
}

/// Whether a line begins an item of a list, and where its text begins.
fn item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(rest) = line.strip_prefix(['-', '*', '+']) {
        return rest.starts_with(' ').then_some(rest);
    }
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_numbered = rest.len() < line.len() && line.len() - rest.len() <= 3;
    let rest = rest.strip_prefix(['.', ')']).filter(|_| is_numbered)?;
    rest.starts_with(' ').then_some(rest)
}

/// Runs of lines that empty lines and items of lists separate. Lines of which `is_out` says so
/// separate too. A run whose lines are all indented by four or more is code, unless it is an item.
fn blocks(text: &str, is_out: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = String::new();
    let (mut is_code, mut in_list) = (true, false);
    for line in text.lines().chain([""]) {
        let is_blank = line.trim().is_empty();
        let starts = item(line);
        if is_blank || is_out(line) || starts.is_some() {
            if !is_code {
                found.push(std::mem::take(&mut block));
            }
            block.clear();
            is_code = true;
        }
        if is_blank || is_out(line) {
            continue;
        }
        let is_indented = line.starts_with("    ") || line.starts_with('\t');
        in_list = starts.is_some() || (in_list && line.starts_with(' '));
        is_code &= is_indented && !in_list;
        block.push_str(starts.unwrap_or(line));
        block.push('\n');
    }
    found
}

fn markdown(text: &str) -> Vec<String> {
    let mut kept = String::new();
    let mut fence: Option<&str> = None;
    let mut is_front = text.starts_with("---\n");
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start().trim_start_matches(['>', ' ']);
        if is_front {
            is_front = at == 0 || line.trim_end() != "---";
            continue;
        }
        if let Some(mark) = fence {
            if start.starts_with(mark) {
                fence = None;
            }
            kept.push('\n');
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark)) {
            fence = Some(mark);
            kept.push('\n');
            continue;
        }
        let is_rule = !start.is_empty() && start.chars().all(|c| "=-*_ |:+".contains(c));
        let is_reference = start.starts_with('[') && start.contains("]:");
        if start.starts_with(['#', '|', '<']) || is_rule || is_reference || start.contains(" | ") {
            kept.push('\n');
            continue;
        }
        kept.push_str(if line.trim_start().starts_with('>') { start } else { line });
        kept.push('\n');
    }
    blocks(&kept, |_| false).iter().map(|block| inline(block)).collect()
}

/// Takes links, emphasis, tags and code marks out of a paragraph of Markdown.
fn inline(block: &str) -> String {
    let mut out = String::with_capacity(block.len());
    let mut rest = block;
    while let Some(at) = rest.find(['[', ']', '<', '`', '*', '!', '\\', '{']) {
        out.push_str(&rest[..at]);
        let from = &rest[at..];
        let skipped = match from.as_bytes()[0] {
            b'!' if from.starts_with("![") => from.find(')').map_or(1, |end| end + 1),
            b']' if from.starts_with("](") => closing(&from[1..]).map_or(1, |end| end + 2),
            b']' if from.starts_with("][") => from[1..].find(']').map_or(1, |end| end + 2),
            b'<' => match from.find('>') {
                Some(end) if !from[1..].starts_with(' ') => end + 1,
                _ => 1,
            },
            b'{' if from.starts_with("{%") || from.starts_with("{{") => {
                from.find("}}").or(from.find("%}")).map_or(1, |end| end + 2)
            }
            b'!' | b'{' => {
                out.push_str(&from[..1]);
                1
            }
            _ => 1,
        };
        rest = &from[skipped..];
    }
    out.push_str(rest);
    out
}

/// Where the bracket that `text` begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn rst(text: &str) -> Vec<String> {
    let mut kept = String::new();
    // Lines that are indented deeper than this belong to what is left out.
    let mut out_below: Option<usize> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let start = line.trim_start();
        if start.is_empty() {
            kept.push('\n');
            continue;
        }
        if let Some(depth) = out_below {
            if indent > depth {
                continue;
            }
            out_below = None;
        }
        let is_rule = |line: &str| {
            let line = line.trim_end();
            let first = line.chars().next().filter(char::is_ascii_punctuation);
            line.len() > 2 && first.is_some_and(|first| line.chars().all(|c| c == first))
        };
        let is_table = start.starts_with(['+', '|']) || start.starts_with("== ");
        if is_rule(start) || is_table || lines.peek().is_some_and(|next| is_rule(next)) {
            kept.push('\n');
            continue;
        }
        if start.starts_with("..") || (start.starts_with(':') && start[1..].contains(':')) {
            let is_note = ["note::", "warning::", "tip::", "important::", "versionadded::"];
            if !is_note.iter().any(|note| start.contains(note)) {
                out_below = Some(indent);
            }
            kept.push('\n');
            continue;
        }
        if start.ends_with("::") {
            out_below = Some(indent);
        }
        kept.push_str(start);
        kept.push('\n');
    }
    blocks(&kept, |_| false).iter().map(|block| roles(block)).collect()
}

/// Takes roles, references and code marks out of a paragraph of reStructuredText.
fn roles(block: &str) -> String {
    let mut out = String::with_capacity(block.len());
    for (at, part) in block.split('`').enumerate() {
        if at % 2 == 1 {
            // Inside back quotes: `text <target>` keeps its text.
            out.push_str(
                part.split(" <").next().unwrap_or_default().trim_start_matches(['~', '!']),
            );
            continue;
        }
        // Before back quotes may be a role, `:name:`, and after them underscores.
        let part = part.trim_start_matches('_');
        match part.strip_suffix(':').and_then(|part| part.rfind(':').map(|at| (part, at))) {
            Some((part, at)) if !part[at..].contains(' ') => out.push_str(&part[..at]),
            _ => out.push_str(part),
        }
    }
    out.replace(['*', '|', '\\'], "")
}

/// Elements whose text is not prose.
const SKIPPED: [&str; 7] = ["script", "style", "pre", "table", "nav", "head", "svg"];
/// Elements that begin or end a paragraph.
const BLOCKS: [&str; 17] = [
    "p",
    "li",
    "dd",
    "dt",
    "div",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "ul",
    "ol",
    "dl",
    "section",
    "blockquote",
    "br",
];

fn html(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        block.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find('>') else { break };
        let tag = rest[1..end].trim_end_matches('/');
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        rest = &rest[end + 1..];
        if SKIPPED.contains(&name.as_str()) && !tag.starts_with('/') {
            let close = format!("</{name}");
            rest = rest.find(&close).map_or("", |at| &rest[at..]);
            found.push(std::mem::take(&mut block));
        } else if BLOCKS.contains(&name.as_str()) {
            found.push(std::mem::take(&mut block));
        }
    }
    found.push(block);
    found.iter().map(|block| entities(block)).collect()
}

fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(10).position(|byte| byte == b';');
        let Some(end) = end else {
            out.push('&');
            rest = &rest[1..];
            continue;
        };
        match &rest[1..end] {
            "amp" => out.push('&'),
            "lt" => out.push('<'),
            "gt" => out.push('>'),
            "quot" | "ldquo" | "rdquo" | "#34" | "#8220" | "#8221" => out.push('"'),
            "#39" | "lsquo" | "rsquo" | "#8217" | "#8216" | "#x27" => out.push('\''),
            "mdash" | "ndash" | "#8211" | "#8212" => out.push('\u{2014}'),
            _ => out.push(' '),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.replace('\u{b6}', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_loses_code_headings_tables_and_links() {
        let text = "---\ntitle: x\n---\n# Heading\n\nSome *plain* [text](http://a.b/c_(d)) with \
                    `code` and\na second line.\n\n    indented code\n\n```rust\nfn main() {}\n\
                    ```\n\n| a | b |\n\n- one item\n- another ![image](x.png)\n";
        let expected = ["Some plain text with code and a second line.", "one item", "another"];
        assert_eq!(paragraphs(text, Format::Markdown), expected);
    }

    #[test]
    fn rst_loses_directives_titles_and_roles() {
        let text = "Title\n=====\n\nSee :func:`~a.b` and `the site <http://x>`_ for *more*::\n\n    \
                    code()\n\n.. code-block:: c\n\n   int x;\n\n.. note::\n   Kept as it is.\n\nLast.\n";
        let expected = ["See a.b and the site for more::", "Kept as it is.", "Last."];
        assert_eq!(paragraphs(text, Format::Rst), expected);
    }

    #[test]
    fn html_keeps_the_text_of_its_blocks() {
        let text = "<head><title>x</title></head><p>One &amp; <b>two</b></p><pre>code</pre>\
                    <ul><li>three<li>four</ul>";
        assert_eq!(paragraphs(text, Format::Html), ["One & two", "three", "four"]);
    }

    #[test]
    fn broken_markup_does_not_panic() {
        for text in [
            "<",
            "<p",
            "&",
            "&amp",
            "`",
            "[](",
            "![",
            "{{",
            "```",
            ":",
            "..",
            "<script>",
            "\u{e9}<\u{e9}>",
        ] {
            for format in [Format::Html, Format::Markdown, Format::Rst, Format::Text] {
                let _ = paragraphs(text, format);
            }
        }
    }

    #[test]
    fn programs_and_tables_are_no_prose() {
        assert!(is_prose("The node signs every answer before it is sent to the caller."));
        assert!(!is_prose("int main() { return 0; } int f() { return 1; }"));
        assert!(!is_prose("1 2 3 4 5 6 7 8 a b c"));
    }
}
