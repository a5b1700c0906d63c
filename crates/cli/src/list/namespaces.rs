//! Namespaces seen in flows.

use fathom_api::observer::GetNamespacesResponse;

use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;

pub(super) fn table(response: &GetNamespacesResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    columns.row(std::iter::once("NAMESPACE").chain(wide.then_some("CLUSTER")));
    for seen in &response.namespaces {
        let cluster = wide.then(|| Escaped(&seen.cluster).to_string());
        columns.row(std::iter::once(Escaped(&seen.namespace).to_string()).chain(cluster));
    }
    columns
}
