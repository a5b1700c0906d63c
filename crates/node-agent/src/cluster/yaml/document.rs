//! A file of several YAML documents, taken apart before it is parsed, so that an error names its
//! line and the documents around it can still be read.

/// One document and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Line of the file its first line is, 1-based.
    pub line: usize,
    pub text: &'a str,
}

/// Splits at `---` and `...` lines (YAML 1.2 §9.1: such a line ends a document even inside a block
/// scalar). What follows `--- ` on its line belongs to the new document. Blank documents are left out.
pub fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if let Some(marker) = marker(line) {
            push(&mut documents, start_line, &text[start..offset]);
            // The rest of the marker's line is part of what follows, on the same line.
            (start, start_line) = (offset + marker.len(), number + 1);
        }
        offset += line.len();
    }
    push(&mut documents, start_line, &text[start..]);
    documents
}

fn marker(line: &str) -> Option<&str> {
    let marker = line.get(..3).filter(|marker| matches!(*marker, "---" | "..."))?;
    line[3..].chars().next().is_none_or(char::is_whitespace).then_some(marker)
}

fn push<'a>(documents: &mut Vec<Document<'a>>, line: usize, text: &'a str) {
    let says_something = text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with('%')
    });
    if says_something {
        documents.push(Document { line, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, &str)> {
        split(text).into_iter().map(|d| (d.line, d.text.trim())).collect()
    }

    #[test]
    fn documents_know_their_lines_and_blank_ones_are_left_out() {
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [(1, "a: 1"), (2, "b: 2")]);
        assert_eq!(lines("---\n# only a remark\n---\n\nb: 2\n...\n"), [(3, "b: 2")]);
        assert_eq!(lines("--- {a: 1}\n---\tb: 2"), [(1, "{a: 1}"), (2, "b: 2")]);
        assert_eq!(lines(""), []);
    }

    #[test]
    fn dashes_that_are_no_marker_stay() {
        assert_eq!(lines("a: |\n  ---\n---x: 1\n"), [(1, "a: |\n  ---\n---x: 1")]);
    }

    #[test]
    fn windows_line_ends_and_byte_order_marks_are_read() {
        assert_eq!(lines("\u{feff}a: 1\r\n---\r\nb: 2\r\n"), [(1, "a: 1"), (2, "b: 2")]);
    }
}
