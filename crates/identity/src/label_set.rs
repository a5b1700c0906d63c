//! A canonical set of labels: what an identity is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::hash::stable_hash;
use crate::label::{Label, LabelError};

/// Labels sorted by source, key and value, each once. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Arc<[Label]>);

impl LabelSet {
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut labels: Vec<Label> = labels.into_iter().collect();
        labels.sort_unstable();
        labels.dedup();
        Self(labels.into())
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Value of a key of a source; the first when there are several.
    pub fn get(&self, source: &str, key: &str) -> Option<&str> {
        let at = self.0.partition_point(|label| (&*label.source, &*label.key) < (source, key));
        let label = self.0.get(at)?;
        (&*label.source == source && &*label.key == key).then_some(&*label.value)
    }

    /// Each label as `source:key=value`, sorted as text.
    pub fn rendered(&self) -> Vec<Arc<str>> {
        let mut texts: Vec<Arc<str>> = self.0.iter().map(|label| label.to_string().into()).collect();
        texts.sort_unstable();
        texts
    }

    /// Hash of the canonical text; see [`crate::hash`] for what is promised about it.
    pub fn stable_hash(&self) -> u64 {
        stable_hash(self.to_string().as_bytes())
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        Self::new(labels)
    }
}

/// The canonical text: one `source:key=value` per line. `%`, line breaks, a `:` in the source and
/// a `=` in the key are written as `%` and two hex digits, so that two sets never share a text.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self {
            let (source, key, value) = (&label.source, &label.key, &label.value);
            writeln!(f, "{}:{}={}", Escaped(source, ':'), Escaped(key, '='), Escaped(value, '%'))?;
        }
        Ok(())
    }
}

impl FromStr for LabelSet {
    type Err = LabelError;

    /// Reads the canonical text back.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |line: &str| {
            let (source, rest) = line.split_once(':')?;
            let (key, value) = rest.split_once('=')?;
            Some(Label::new(unescape(source)?, unescape(key)?, unescape(value)?))
        };
        text.lines().map(|line| read(line).ok_or_else(|| LabelError(line.to_owned()))).collect()
    }
}

/// A text in which one more character than usual is escaped.
struct Escaped<'a>(&'a str, char);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if matches!(char, '%' | '\n' | '\r') || char == self.1 {
                write!(f, "%{:02x}", u32::from(char))?;
            } else {
                write!(f, "{char}")?;
            }
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        plain.push(char::from(code));
        plain.push_str(&part[2..]);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(texts: &[&str]) -> LabelSet {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        let one = labels(&["k8s:b=2", "k8s:a=1", "k8s:b=2"]);
        assert_eq!(one, labels(&["k8s:a=1", "k8s:b=2"]));
        assert_eq!(one.to_string(), "k8s:a=1\nk8s:b=2\n");
    }

    #[test]
    fn rendered_labels_are_sorted_as_text() {
        let set = labels(&["k8s:app=web", "k8s:app.x=1", "reserved:world"]);
        let rendered = set.rendered();
        assert!(rendered.is_sorted(), "{rendered:?}");
        assert_eq!(set.get("k8s", "app"), Some("web"));
        assert_eq!(set.get("k8s", "ap"), None);
    }

    #[test]
    fn a_line_break_in_a_value_cannot_forge_another_label() {
        let forged = LabelSet::new([Label::k8s("a", "1\nk8s:b=2")]);
        let honest = labels(&["k8s:a=1", "k8s:b=2"]);
        assert_ne!(forged.to_string(), honest.to_string());
    }

    proptest! {
        #[test]
        fn the_canonical_text_reads_back(parts in prop::collection::vec(("[a-z:%]{1,4}", "[a-z=:%\\n]{1,6}", ".{0,6}"), 0..6)) {
            let set: LabelSet = parts.into_iter().map(|(source, key, value)| Label::new(source, key, value)).collect();
            prop_assert_eq!(set.to_string().parse::<LabelSet>().unwrap(), set);
        }
    }
}
