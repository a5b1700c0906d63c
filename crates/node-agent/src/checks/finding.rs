//! One thing that was looked at: how it is, what follows, what to do.

use fathom_api::fathom_v1 as wire;

/// How bad it is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing follows that somebody would have to mend.
    Info,
    /// It works, but less well or less surely.
    Degraded,
    /// Something that was asked for does not work.
    Missing,
}

impl Severity {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Info => "info",
            Severity::Degraded => "degraded",
            Severity::Missing => "MISSING",
        }
    }

    fn wire(self) -> wire::Severity {
        match self {
            Severity::Ok => wire::Severity::Ok,
            Severity::Info => wire::Severity::Info,
            Severity::Degraded => wire::Severity::Degraded,
            Severity::Missing => wire::Severity::Missing,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable, lower-case: "kernel", "cgroup", "bpffs" …
    pub check: &'static str,
    pub severity: Severity,
    /// What is the case.
    pub what: String,
    /// What follows; empty when it is as it should be.
    pub consequence: String,
    /// What to do; empty when nothing needs doing.
    pub remedy: String,
}

impl Finding {
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        let (consequence, remedy) = (String::new(), String::new());
        Finding { check, severity: Severity::Ok, what: what.into(), consequence, remedy }
    }

    pub fn info(check: &'static str, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Info, ..Finding::ok(check, what) }
    }

    pub fn degraded(check: &'static str, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Degraded, ..Finding::ok(check, what) }
    }

    pub fn missing(check: &'static str, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Missing, ..Finding::ok(check, what) }
    }

    /// What could not be looked at.
    pub fn unknown(check: &'static str, why: impl std::fmt::Display) -> Self {
        Finding::degraded(check, format!("cannot be looked at: {why}"))
            .so("what is wrong here would not be seen")
            .then("start the agent as root in the node's namespaces, with the manifests' capabilities")
    }

    /// What follows.
    #[must_use]
    pub fn so(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    /// What to do.
    #[must_use]
    pub fn then(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// As the API tells it.
    pub fn wire(&self, node_name: &str) -> wire::Finding {
        wire::Finding {
            check: self.check.to_owned(),
            node_name: node_name.to_owned(),
            severity: self.severity.wire().into(),
            what: self.what.clone(),
            consequence: self.consequence.clone(),
            remedy: self.remedy.clone(),
        }
    }
}
