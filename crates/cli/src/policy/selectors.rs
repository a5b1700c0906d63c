//! Selectors with whom they stand for.

use fathom_api::fathom_v1::{ListSelectorsResponse, PolicySelector};

use crate::terminal::columns::Columns;
use crate::terminal::escape::{Escaped, join};

/// Identities shown of each, but in the wide form.
const SHOWN: usize = 8;

pub(super) fn table(response: &ListSelectorsResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    let more: &[&str] = if wide { &["LABELS"] } else { &[] };
    columns.row(["POLICY", "PLACE", "SELECTS", "COUNT", "IDENTITIES"].iter().chain(more).copied());
    for selector in &response.selectors {
        let PolicySelector { namespace, name, .. } = selector;
        let slash = if namespace.is_empty() { "" } else { "/" };
        let shown = if wide { selector.identities.len() } else { SHOWN };
        let numbers = selector.identities.iter().take(shown).map(ToString::to_string);
        let mut numbers = numbers.collect::<Vec<_>>().join(",");
        if selector.count as usize > shown {
            numbers.push_str(",…");
        }
        let mut cells = vec![
            Escaped(&format!("{namespace}{slash}{name}")).to_string(),
            Escaped(&selector.place).to_string(),
            Escaped(&selector.text).to_string(),
            selector.count.to_string(),
            numbers,
        ];
        if wide {
            let first = selector.identities.first();
            let labels = first.and_then(|number| response.identities.iter().find(|i| i.number == *number));
            cells.push(labels.map(|identity| join(&identity.labels, ",")).unwrap_or_default());
        }
        columns.row(cells);
    }
    columns
}
