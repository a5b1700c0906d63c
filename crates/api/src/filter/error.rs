//! Why a filter was refused.

/// A filter that can't be compiled, by field and value. At the RPC edge it is `InvalidArgument`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{list}[{index}].{field}: {problem}")]
pub struct FilterError {
    /// "whitelist" or "blacklist", as the request names them.
    pub list: &'static str,
    pub index: usize,
    /// Field of `flow.FlowFilter`.
    pub field: &'static str,
    /// What is wrong, with the offending value quoted.
    pub problem: String,
}

impl From<FilterError> for tonic::Status {
    fn from(error: FilterError) -> Self {
        tonic::Status::invalid_argument(format!("invalid filter: {error}"))
    }
}
