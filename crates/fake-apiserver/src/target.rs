//! What a path names.

use crate::resources::group_version;

/// A resource's path taken apart; whether there is such a resource is not asked here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// `None` for paths that name no resource.
    pub fn read(path: &str) -> Option<Target> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        // A namespace's own subresources are no resources inside of it.
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) =>
            {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let (plural, rest) = rest.split_first()?;
        if plural.is_empty() || rest.len() > 2 {
            return None;
        }
        Some(Target {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: (*plural).to_owned(),
            namespace,
            name: rest.first().map(ToString::to_string),
            subresource: rest.get(1).map(ToString::to_string),
        })
    }

    /// "pods", "pods/status": as rules of roles say it.
    pub fn as_in_rules(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.plural),
            None => self.plural.clone(),
        }
    }

    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        let target = Target::read(path).unwrap();
        (target.as_in_rules(), target.namespace, target.name, target.subresource)
    }

    #[test]
    fn paths_name_collections_objects_and_their_subresources() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("/api/v1/pods"), ("pods".into(), None, None, None));
        assert_eq!(read("/api/v1/namespaces/a/pods/p"), ("pods".into(), some("a"), some("p"), None));
        assert_eq!(read("/api/v1/namespaces/a"), ("namespaces".into(), None, some("a"), None));
        let status = ("namespaces/status".into(), None, some("a"), some("status"));
        assert_eq!(read("/api/v1/namespaces/a/status"), status);
        let crd = "/apis/fathom.dev/v1alpha1/fathomidentities/300/status";
        assert_eq!(read(crd), ("fathomidentities/status".into(), None, some("300"), some("status")));
        for path in ["/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/api/v1/pods/a/b/c/d"] {
            assert_eq!(Target::read(path), None, "{path}");
        }
    }
}
