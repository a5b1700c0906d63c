//! Who may do what, by the roles in the store, and who did what.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::store::{Key, Store};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user: String,
    pub groups: Vec<String>,
}

const MASTERS: &str = "system:masters";

impl Subject {
    pub fn admin() -> Self {
        let groups = [MASTERS, "system:authenticated"];
        Subject { user: "kubernetes-admin".into(), groups: groups.map(str::to_owned).to_vec() }
    }

    pub fn service_account(namespace: &str, name: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        Subject { user, groups }
    }

    pub fn anonymous() -> Self {
        Subject { user: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    fn is_named(&self, subject: &Value) -> bool {
        let text = |field: &str| subject[field].as_str().unwrap_or_default();
        match text("kind") {
            "User" => self.user == text("name"),
            "Group" => self.groups.iter().any(|group| group == text("name")),
            "ServiceAccount" => {
                self.user == format!("system:serviceaccount:{}:{}", text("namespace"), text("name"))
            }
            _ => false,
        }
    }
}

/// One thing somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Action {
    pub verb: String,
    pub group: String,
    /// With its subresource: "pods/status".
    pub resource: String,
    /// "" for all namespaces, and where there are none.
    pub namespace: String,
    /// "" for collections.
    pub name: String,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in {}", self.namespace)?;
        }
        Ok(())
    }
}

/// One thing a rule grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Grant {
    /// "ClusterRole fathom-agent", "Role kube-system/fathom-relay".
    pub role: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    /// "" for every namespace.
    pub namespace: String,
    /// "" for every name.
    pub name: String,
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Grant { role, verb, group, resource, namespace, name } = self.clone();
        write!(f, "{role}: {}", Action { verb, group, resource, namespace, name })
    }
}

impl Grant {
    pub fn allows(&self, action: &Action) -> bool {
        let is = |granted: &str, asked: &str| granted == "*" || granted == asked;
        let subresource = action.resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        is(&self.verb, &action.verb)
            && is(&self.group, &action.group)
            && (is(&self.resource, &action.resource) || subresource.is_some_and(|s| s == self.resource))
            && (self.namespace.is_empty() || self.namespace == action.namespace)
            && (self.name.is_empty() || self.name == action.name)
    }
}

const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// Everything the roles grant somebody.
pub fn grants(store: &Store, subject: &Subject) -> Vec<Grant> {
    let named = |binding: &Value| {
        let subjects = binding["subjects"].as_array();
        subjects.into_iter().flatten().any(|named| subject.is_named(named))
    };
    let mut grants = Vec::new();
    for (_, binding) in store.objects(CLUSTER_BINDINGS).filter(|(_, binding)| named(binding)) {
        add(store, binding, "", &mut grants);
    }
    for (key, binding) in store.objects(BINDINGS).filter(|(_, binding)| named(binding)) {
        add(store, binding, &key.namespace, &mut grants);
    }
    grants
}

fn add(store: &Store, binding: &Value, namespace: &str, grants: &mut Vec<Grant>) {
    let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
    let (role, called) = match binding["roleRef"]["kind"].as_str() {
        Some("Role") => (store.get(ROLES, &Key::new(namespace, name)), format!("Role {namespace}/{name}")),
        _ => (store.get(CLUSTER_ROLES, &Key::new("", name)), format!("ClusterRole {name}")),
    };
    let Some(role) = role else { return };
    for rule in role["rules"].as_array().into_iter().flatten() {
        let list = |field: &str| -> Vec<String> {
            let texts = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let names = list("resourceNames");
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for verb in list("verbs") {
            for group in list("apiGroups") {
                for resource in list("resources") {
                    for name in &names {
                        grants.push(Grant {
                            role: called.clone(),
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            namespace: namespace.to_owned(),
                            name: name.clone(),
                        });
                    }
                }
            }
        }
    }
}

/// What was asked: by user, and how often.
#[derive(Debug, Default)]
pub struct Log {
    allowed: BTreeMap<(String, Action), u64>,
    denied: BTreeMap<(String, Action), u64>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub user: String,
    pub action: Action,
    pub times: u64,
}

impl Log {
    pub fn note(&mut self, subject: &Subject, action: Action, allowed: bool) {
        let log = if allowed { &mut self.allowed } else { &mut self.denied };
        *log.entry((subject.user.clone(), action)).or_default() += 1;
    }

    pub fn allowed(&self) -> Vec<Asked> {
        lines(&self.allowed)
    }

    pub fn denied(&self) -> Vec<Asked> {
        lines(&self.denied)
    }

    /// Grants of a subject that it never used.
    pub fn unused(&self, store: &Store, subject: &Subject) -> BTreeSet<Grant> {
        let used = |grant: &Grant| {
            self.allowed.keys().any(|(user, action)| *user == subject.user && grant.allows(action))
        };
        grants(store, subject).into_iter().filter(|grant| !used(grant)).collect()
    }

    pub fn clear(&mut self) {
        *self = Log::default();
    }
}

fn lines(log: &BTreeMap<(String, Action), u64>) -> Vec<Asked> {
    let line = |((user, action), times): (&(String, Action), &u64)| Asked {
        user: user.clone(),
        action: action.clone(),
        times: *times,
    };
    log.iter().map(line).collect()
}
