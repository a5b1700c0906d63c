//! Data out: the store's flows as the Observer API tells them, and the agent's own questions.
//!
//! [`service`] answers; a GetFlows answer is [`plan`] → [`stream`] → [`view`], with `message` for flows that
//! are messages of an application protocol and not packets.
//!
//! What GetFlows means here, beyond the words of the contract:
//! - `number` counts flows that match: the newest ones, or with `first` the oldest, within `since` and
//!   `until`. With `follow` it bounds the history and not what comes; without `number` and `since` a
//!   follower begins with now. `until` ends a follower too, a second late, because records rest in the
//!   kernel's rings for a moment.
//! - An answer that does not follow ends with what there was when it was asked for, however fast flows
//!   come in.
//! - A request whose filters can match nothing but drops also gets the denials that are older than the
//!   store; any other request does not, so that what it shows has no holes. A client that was overtaken
//!   gets the denials it missed in either case.
//! - Losses pass every filter, are merged per place, come at most once per second, and never after the
//!   end: what is untold goes out before it. A loss belongs to an answer when it was found within the
//!   stretch of the store that the answer covers.
//! - `traffic_direction` is the connection's: a reply that leaves a pod is ingress traffic.
//! - The trailers `fathom-flows-examined`, `-sent` and `-lost` say what was looked at, so that an empty
//!   answer explains itself.
//!
//! GetNodes answers with this node alone. GetDebugEvents has nothing to tell: the programs write no
//! debug messages; the answer is empty, and with `follow` stays open.

pub mod agent;
pub mod facts;
pub mod history;
mod message;
pub mod node;
pub mod peer;
pub mod plan;
pub mod service;
pub mod stream;
pub mod view;
