//! libbpf's messages: into tracing, and into the error of the load that caused them.

use std::cell::RefCell;
use std::sync::Once;

use libbpf_rs::PrintLevel;

/// Bytes of messages kept per load; the verifier can be talkative, the reason is at the end.
const KEEP: usize = 64 * 1024;

thread_local! {
    /// What libbpf said on this thread since [`capture`] began.
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sends libbpf's messages to tracing, target `libbpf`, from now on. Harmless to repeat.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Debug, print)));
    });
}

/// Runs `work` and returns what libbpf said meanwhile on this thread.
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (T, String) {
    CAPTURED.with_borrow_mut(|log| *log = Some(String::new()));
    let result = work();
    let log = CAPTURED.with_borrow_mut(Option::take).unwrap_or_default();
    (result, log)
}

fn print(level: PrintLevel, message: String) {
    let text = message.trim_end();
    match level {
        // A load that fails says why through its error: see `capture`.
        PrintLevel::Warn | PrintLevel::Info => tracing::debug!(target: "libbpf", "{text}"),
        PrintLevel::Debug => tracing::trace!(target: "libbpf", "{text}"),
    }
    CAPTURED.with_borrow_mut(|log| {
        let Some(log) = log else { return };
        // Debug lines are only of interest for verifier statistics, which come alone in one message.
        if level == PrintLevel::Debug && !text.contains("processed ") {
            return;
        }
        log.push_str(&message);
        if log.len() > KEEP {
            let cut = (log.len() - KEEP..).find(|at| log.is_char_boundary(*at));
            log.drain(..cut.unwrap_or_default());
        }
    });
}
