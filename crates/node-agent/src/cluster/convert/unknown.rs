//! Fields that a wire type does not have: misspelt ones, and those of newer versions of the API.

use std::fmt;

use serde_ignored::Path;
use serde_json::Value;

/// Where a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Step>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Item(usize),
}

impl FieldPath {
    /// What serde_ignored tells, without the steps that no manifest shows.
    pub fn of(path: &Path<'_>) -> Self {
        fn steps(path: &Path<'_>, into: &mut Vec<Step>) {
            match path {
                Path::Root => {}
                Path::Seq { parent, index } => {
                    steps(parent, into);
                    into.push(Step::Item(*index));
                }
                Path::Map { parent, key } => {
                    steps(parent, into);
                    into.push(Step::Field(key.clone()));
                }
                Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                    steps(parent, into)
                }
            }
        }
        let mut into = Vec::new();
        steps(path, &mut into);
        Self(into)
    }

    /// The name at the beginning.
    pub fn first(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Field(name)) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                // A name is whatever somebody wrote, line breaks and all.
                Step::Field(name) if at == 0 => write!(f, "{}", name.escape_debug())?,
                Step::Field(name) => write!(f, ".{}", name.escape_debug())?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// All of them in a sentence.
pub fn listed(paths: &[FieldPath]) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether one of them may be the namespace.
pub fn leaves_the_key_in_doubt(paths: &[FieldPath], value: &Value) -> bool {
    let in_metadata = paths.iter().any(|path| path.first() == Some("metadata"));
    in_metadata && value.pointer("/metadata/namespace").is_none()
}
