//! Watches that always come back.
//!
//! What the client's watcher does not do: a server may say with the answer itself, not with an event, that the
//! version to watch on from is too old (410). Asked for the same version again it would say so forever.

use futures::stream::{self, Stream};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};

use crate::raw::RawObject;

/// Lists and watches; lists anew whenever the server has forgotten the version that is known here.
pub fn watch(
    api: Api<RawObject>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<RawObject>>> + Send {
    let begin = |api: &Api<RawObject>, config: &watcher::Config| watcher(api.clone(), config.clone()).boxed();
    let state = (begin(&api, &config), api, config);
    stream::unfold(state, move |(mut events, api, config)| async move {
        let event = events.try_next().await.transpose()?;
        if event.as_ref().err().is_some_and(is_gone) {
            events = begin(&api, &config);
        }
        Some((event, (events, api, config)))
    })
}

fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}
