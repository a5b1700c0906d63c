//! Data out: the store's flows as the Observer API tells them, and the agent's own questions.
